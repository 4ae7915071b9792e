// Lines that are followed to the newest one, unless somebody has scrolled up.

export default {
  template: `<div class="gkt-log" tabindex="0" role="log" aria-live="off">{{ text }}</div>`,
  props: { text: String },
  data() {
    return { follows: true };
  },
  mounted() {
    // A hidden tab has no height; once it is shown, the newest line is.
    this.observer = new ResizeObserver(() => this.follow());
    this.observer.observe(this.$el);
    this.$el.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.$el;
      if (clientHeight) this.follows = scrollHeight - scrollTop - clientHeight < 24;
    });
  },
  unmounted() {
    this.observer?.disconnect();
  },
  watch: {
    text: {
      handler() {
        this.follow();
      },
      flush: "post",
    },
  },
  methods: {
    follow() {
      if (this.follows) this.$el.scrollTop = this.$el.scrollHeight;
    },
  },
};
