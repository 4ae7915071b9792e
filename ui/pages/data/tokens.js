// Rows token by token: what is learned, read, cut off or left empty. All texts are only texts.

export default {
  template: `
    <div class="gkt-tokens">
      <div v-for="(row, at) in rows" :key="at" class="gkt-token-row" role="group" :aria-label="row.title">
        <div class="gkt-note">{{ row.title }}</div>
        <div class="gkt-token-text">
          <template v-for="(segment, place) in row.segments" :key="place">
            <br v-if="place" />
            <span v-if="segment.title" class="gkt-token gkt-token-segment">{{ segment.title }}</span>
            <template v-for="(token, number) in segment.tokens" :key="number">
              <span :class="classes(token)" :title="'#' + token.id">{{ shown(token) }}</span
              ><br v-if="token.text.endsWith('\\n')" />
            </template>
            <span v-if="segment.more" class="gkt-note">{{ segment.more }}</span>
          </template>
          <span v-if="row.padding" class="gkt-token gkt-token-padding">{{ row.padding }}</span>
        </div>
      </div>
    </div>
  `,
  props: { rows: Array },
  methods: {
    classes(token) {
      return ["gkt-token", "gkt-token-" + token.kind, token.special ? "gkt-token-special" : ""];
    },
    shown(token) {
      return token.text.replace(/\n/g, "\u21b5").replace(/\t/g, "\u2192");
    },
  },
};
