// Passes what was sent for several charts on to each of them: one message in the place of many.

export default {
  template: `<div hidden></div>`,
  methods: {
    pass(calls) {
      for (const [id, name, ...args] of calls) runMethod(id, "run_plot_method", [name, ...args]);
    },
  },
};
