// Keeps the chart inside it as wide as there is room, while it can be seen.
//
// NiceGUI's own way also asks for charts in a tab or a part that is closed, which Plotly refuses.

export default {
  template: `<div><slot></slot></div>`,
  async mounted() {
    const { Plotly } = await import("nicegui-plotly");
    this.observer = new ResizeObserver(() => {
      if (this.$el.clientWidth) Plotly.Plots.resize(this.$el.firstElementChild);
    });
    this.observer.observe(this.$el);
  },
  unmounted() {
    this.observer?.disconnect();
  },
};
