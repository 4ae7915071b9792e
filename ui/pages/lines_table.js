// A table whose cells are text, links, states and tags, and whose rows are cards on a phone.
//
// Its cells are this component's own. In slots given as text NiceGUI would make them anew whenever
// anything on the page changes, and a press on a link that falls between would do nothing.

const LineCell = {
  template: `
    <a v-if="row[name + '_href']" class="gkt-rowlink" :href="row[name + '_href']">{{ row[name] }}</a>
    <span v-else-if="row[name + '_tone']" :class="'gkt-chip gkt-' + row[name + '_tone']">{{ row[name] }}</span>
    <span v-else-if="row[name + '_tags']" class="gkt-tags">
      <a v-for="tag in row[name + '_tags']" :key="tag.text" class="gkt-chip" :href="tag.href">{{ tag.text }}</a>
    </span>
    <span v-else>{{ row[name] }}</span>
  `,
  props: { row: Object, name: String },
};

export default {
  components: { LineCell },
  template: `
    <q-table ref="qRef" flat wrap-cells hide-selected-banner :columns="columns" :grid="$q.screen.lt.sm">
      <template #header-selection="line">
        <q-checkbox v-model="line.selected" :aria-label="chooseAll" dense />
      </template>
      <template #body-selection="line">
        <q-checkbox v-model="line.selected" :aria-label="line.row.choose" dense />
      </template>
      <template #body-cell="cell">
        <q-td :props="cell"><line-cell :row="cell.row" :name="cell.col.name" /></q-td>
      </template>
      <template #no-data="none">{{ none.message }}</template>
      <template #item="line">
        <div class="q-pa-xs col-12">
          <div class="gkt-row-card">
            <div v-if="line.row.choose" class="gkt-row-line">
              <q-checkbox v-model="line.selected" :aria-label="line.row.choose" dense />
            </div>
            <div v-for="col in line.cols" :key="col.name" class="gkt-row-line">
              <span class="gkt-label">{{ col.label }}</span>
              <div><line-cell :row="line.row" :name="col.name" /></div>
            </div>
          </div>
        </div>
      </template>
    </q-table>
  `,
  props: { columns: Array, chooseAll: String },
};
