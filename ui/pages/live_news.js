// Passes what was sent for several elements on to each: one message in the place of many.

export default {
  template: `<div hidden></div>`,
  methods: {
    pass(calls) {
      for (const [id, method, args] of calls) runMethod(id, method, args);
    },
  },
};
