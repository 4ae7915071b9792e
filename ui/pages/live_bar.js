// A bar that is changed by a call, or as any other element.

export default {
  template: `<q-linear-progress :value="shown" size="0.75rem" rounded color="primary" :aria-label="label" />`,
  props: { value: Number, label: String },
  data() {
    return { shown: this.value };
  },
  watch: {
    value(value) {
      this.shown = value;
    },
  },
  methods: {
    show(value) {
      this.shown = value;
    },
  },
};
