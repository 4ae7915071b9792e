// A text that is changed by a call, or as any other element.

export default {
  template: `<div>{{ shown }}</div>`,
  props: { text: String },
  data() {
    return { shown: this.text };
  },
  watch: {
    text(text) {
      this.shown = text;
    },
  },
  methods: {
    show(text) {
      this.shown = text;
    },
  },
};
