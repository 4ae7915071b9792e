// An answer piece by piece, each with how sure the model was of it. One stop of the Tab key: the
// arrow keys go from piece to piece. What is known of the chosen piece stands below, where a finger
// and a screen reader reach it too. All texts are only texts.

const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

export default {
  template: `
    <div
      class="gkt-said"
      role="listbox"
      aria-orientation="horizontal"
      :aria-label="name"
      @keydown="go"
    >
      <span
        v-for="(piece, place) in pieces"
        :key="place"
        ref="pieces"
        class="gkt-choice"
        role="option"
        :tabindex="place === Math.max(at, 0) ? 0 : -1"
        :aria-selected="place === at"
        :aria-label="piece.said"
        :style="{ background: shade(piece) }"
        @focus="at = place"
        @mouseenter="at = place"
        @click="at = place"
        >{{ piece.text }}</span
      >
    </div>
    <p class="gkt-note gkt-said-of" aria-hidden="true">
      {{ at < 0 ? hint : pieces[at].said }}
    </p>
  `,
  props: { pieces: Array, name: String, hint: String },
  data: () => ({ at: -1 }),
  methods: {
    go(event) {
      const by = STEPS[event.key];
      if (by === undefined) return;
      event.preventDefault();
      const to = Math.min(Math.max(Math.max(this.at, 0) + by, 0), this.pieces.length - 1);
      this.$refs.pieces[to].focus();
    },
    shade(piece) {
      const doubt = Math.round(60 * (1 - piece.probability));
      return `color-mix(in srgb, var(--gkt-accent) ${doubt}%, transparent)`;
    },
  },
};
