// Passes what was sent for several elements on to each: one message in the place of many.

export default {
  template: `<div hidden></div>`,
  methods: {
    pass(calls) {
      for (const [id, method, args, drawing] of calls) {
        // A new figure overtakes the calls that wait, and has their points already.
        if (drawing !== undefined && getElement(id)?.$el?.layout?.meta !== drawing) continue;
        runMethod(id, method, args);
      }
    },
  },
};
