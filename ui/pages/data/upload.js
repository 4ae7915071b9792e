// Sends a file in pieces to /api/v1/uploads, goes on after a break, and opens the data set it made.
// Pasted text is sent as a file too, so that it is never a message of the socket.

const API = "/api/v1";
const HEADER = { "x-gkt-request": "1" };
const KEPT = "gkt-upload"; // which upload to go on with if the same file is chosen again
const FIRST_PIECE = 256 * 1024;
const WAITS_S = [1, 2, 4, 8, 15];
const SILENT_S = 30; // without a byte sent: the connection is lost
const AGAIN = [408, 429, 500, 502, 503, 504];
const AGAIN_CODES = ["UPLOAD_BUSY", "UPLOAD_OFFSET"];

class Problem extends Error {
  constructor(message, { again = false, wait = null } = {}) {
    super(message);
    this.again = again;
    this.wait = wait;
  }
}

class Cancelled extends Error {}

function problemOf(status, text, wait, failed) {
  let told = {};
  try {
    told = JSON.parse(text);
  } catch {
    // an answer of a proxy, or none
  }
  const again = AGAIN.includes(status) || AGAIN_CODES.includes(told.code);
  const seconds = Number(wait) || null;
  return new Problem(told.message || failed.replace("{status}", status), { again, wait: seconds });
}

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

export default {
  template: `
    <div class="gkt-upload">
      <div v-if="state === 'idle' && !pasting" class="gkt-drop" :class="{ 'gkt-over': isOver }"
          @dragover.prevent="isOver = true" @dragleave="isOver = false" @drop.prevent="drop">
        <q-icon name="upload_file" size="2.5rem" class="gkt-soft" aria-hidden="true" />
        <input ref="file" type="file" class="gkt-unseen" tabindex="-1" :aria-label="words.input"
          :accept="kinds.join(',')" @change="choose" />
        <div class="gkt-drop-line">
          <q-btn unelevated no-caps color="primary" :label="words.choose" @click="$refs.file.click()" />
          <span class="gkt-soft">{{ words.drop }}</span>
        </div>
        <span class="gkt-note">{{ fill(words.kinds, { size: size(most) }) }}</span>
        <span class="gkt-note">{{ words.sheet }}</span>
        <q-btn flat no-caps color="primary" :label="words.paste" @click="pasting = true" />
      </div>
      <form v-else-if="state === 'idle'" class="gkt-paste" @submit.prevent="sendPasted">
        <label class="gkt-label" :for="id + '-rows'">{{ words.pasted }}</label>
        <textarea :id="id + '-rows'" v-model="text" rows="8" spellcheck="false"
          class="gkt-textarea" :placeholder="words.example"></textarea>
        <label class="gkt-label" :for="id + '-title'">{{ words.title }}</label>
        <input :id="id + '-title'" v-model="title" maxlength="60" class="gkt-textarea" />
        <div class="gkt-drop-line">
          <q-btn unelevated no-caps color="primary" type="submit" :label="words.use" />
          <q-btn flat no-caps color="primary" :label="words.file" @click="pasting = false" />
        </div>
      </form>
      <div v-else class="gkt-sending">
        <div class="gkt-sending-name">{{ fill(words.sending, { name: name }) }}</div>
        <q-linear-progress :value="total ? sent / total : 0" size="10px" rounded color="primary"
          :aria-label="fill(words.sending, { name: name })" />
        <div class="gkt-drop-line">
          <span>{{ fill(words.progress, { sent: size(sent), size: size(total) }) }}</span>
          <span v-if="left" class="gkt-soft">{{ fill(words.left, { time: left }) }}</span>
          <span class="gkt-grow"></span>
          <q-btn flat no-caps color="primary" :label="words.cancel" @click="cancel" />
        </div>
        <div class="gkt-note" role="status">{{ remark }}</div>
      </div>
      <div v-if="refused" class="gkt-remark gkt-bad" role="alert">
        <q-icon name="error" size="1.25rem" aria-hidden="true" /><span>{{ refused }}</span>
      </div>
    </div>
  `,
  props: { words: Object, kinds: Array, most: Number, piece: Number, locale: String, target: String },
  data() {
    return {
      id: "gkt-upload-" + Math.random().toString(36).slice(2),
      state: "idle", // idle, sending, waiting, finishing
      isOver: false,
      pasting: false,
      text: "",
      title: this.words.untitled,
      refused: "",
      remark: "",
      name: "",
      sent: 0,
      total: 0,
      left: "",
    };
  },
  mounted() {
    window.addEventListener("beforeunload", this.warn);
  },
  unmounted() {
    window.removeEventListener("beforeunload", this.warn);
    this.stopped = true;
    this.request?.abort();
  },
  methods: {
    fill: filled,
    size(bytes) {
      const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
      let value = bytes;
      let at = 0;
      while (value >= 999.5 && at < units.length - 1) {
        value /= 1000;
        at += 1;
      }
      const style = { style: "unit", unit: units[at], maximumSignificantDigits: 3 };
      return new Intl.NumberFormat(this.locale, style).format(value);
    },
    warn(event) {
      if (this.state !== "idle" && !this.stopped) event.preventDefault();
    },
    choose(event) {
      const file = event.target.files[0];
      event.target.value = "";
      if (file) this.start(file, file.name);
    },
    drop(event) {
      this.isOver = false;
      const file = event.dataTransfer.files[0];
      if (file) this.start(file, file.name);
    },
    sendPasted() {
      const text = this.text.trim();
      if (!text) {
        this.refused = this.words.nothing;
        return;
      }
      const head = text.split("\n", 1)[0];
      const kind = text.startsWith("{") ? ".jsonl" : head.includes("\t") ? ".tsv" : ".csv";
      const name = (this.title.trim() || this.words.untitled) + kind;
      this.start(new File([text + "\n"], name, { type: "text/plain" }), name, this.title.trim());
    },
    whyNot(file, name) {
      const lower = name.toLowerCase();
      const values = { name, kinds: this.kinds.join(", "), size: this.size(file.size) };
      if (!this.kinds.some((kind) => lower.endsWith(kind))) return filled(this.words.wrong_type, values);
      if (!file.size) return filled(this.words.empty, values);
      if (file.size > this.most)
        return filled(this.words.too_large, { ...values, most: this.size(this.most) });
      return "";
    },
    async start(file, name, title = "") {
      this.refused = this.whyNot(file, name);
      if (this.refused) return;
      Object.assign(this, { state: "sending", name, sent: 0, total: file.size, left: "", remark: "" });
      this.stopped = false;
      try {
        const upload = await this.opened(file, name);
        await this.sendPieces(file, upload);
        this.state = "finishing";
        this.remark = this.words.finishing;
        const made = { upload: upload.id, ...(title ? { name: title } : {}) };
        const dataset = await this.patiently(() => this.ask("POST", "/datasets", made));
        localStorage.removeItem(KEPT);
        this.stopped = true; // nothing is lost by leaving now
        const same = this.target.includes("?") ? "&same=1" : "?same=1";
        location.assign(this.target + dataset.id + (dataset.id === upload.id ? "" : same));
      } catch (error) {
        this.state = "idle";
        if (!(error instanceof Cancelled)) this.refused = error.message;
      }
    },
    async opened(file, name) {
      const now = { name, size: file.size, modified: file.lastModified };
      const kept = JSON.parse(localStorage.getItem(KEPT) || "null");
      if (kept && ["name", "size", "modified"].every((key) => kept[key] === now[key])) {
        const old = await this.patiently(() => this.ask("GET", `/uploads/${kept.id}`)).catch((error) => {
          if (error instanceof Cancelled) throw error;
          return null; // it is gone: begin anew
        });
        if (old?.state === "open" && old.size === file.size) {
          if (old.received) this.remark = this.words.resumed;
          this.upload = old.id;
          return old;
        }
      }
      const wanted = { purpose: "dataset", name, size: file.size };
      const made = await this.patiently(() => this.ask("POST", "/uploads", wanted));
      localStorage.setItem(KEPT, JSON.stringify({ ...now, id: made.id }));
      this.upload = made.id;
      return made;
    },
    async sendPieces(file, upload) {
      let offset = upload.received;
      let length = Math.min(FIRST_PIECE, this.piece);
      let tries = 0;
      this.began = { at: performance.now(), offset };
      while (offset < file.size) {
        if (this.stopped) throw new Cancelled();
        const before = performance.now();
        try {
          offset = await this.send(upload.id, file.slice(offset, offset + length), offset);
          this.state = "sending";
          if (tries) this.remark = "";
          tries = 0;
          // pieces of about a second: few requests, and little to send again after a break
          const took = performance.now() - before;
          if (took < 700) length = Math.min(length * 2, this.piece);
          else if (took > 3000) length = Math.max(length / 2, FIRST_PIECE);
        } catch (error) {
          if (!error.again) throw error;
          await this.pause(error, tries++);
          offset = (await this.patiently(() => this.ask("GET", `/uploads/${upload.id}`))).received;
          this.began = { at: performance.now(), offset };
        }
        this.show(offset);
      }
    },
    send(id, piece, offset) {
      return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        let clock = null;
        const lost = () => {
          clearTimeout(clock);
          reject(this.stopped ? new Cancelled() : new Problem("", { again: true }));
        };
        const alive = () => {
          clearTimeout(clock);
          clock = setTimeout(() => request.abort(), SILENT_S * 1000);
        };
        this.request = request;
        request.open("PATCH", `${API}/uploads/${id}`);
        request.setRequestHeader("x-gkt-request", "1");
        request.setRequestHeader("Upload-Offset", String(offset));
        request.setRequestHeader("Content-Type", "application/offset+octet-stream");
        request.upload.onprogress = (event) => {
          alive();
          this.show(offset + event.loaded);
        };
        request.onerror = request.onabort = request.ontimeout = lost;
        request.onload = () => {
          clearTimeout(clock);
          const wait = request.getResponseHeader("Retry-After");
          if (request.status === 204) resolve(Number(request.getResponseHeader("Upload-Offset")));
          else reject(problemOf(request.status, request.responseText, wait, this.words.failed));
        };
        alive();
        request.send(piece);
      });
    },
    async ask(method, path, body) {
      const options = { method, headers: { ...HEADER, accept: "application/json" } };
      if (body) {
        options.headers["content-type"] = "application/json";
        options.body = JSON.stringify(body);
      }
      let answer = null;
      try {
        answer = await fetch(API + path, options);
      } catch {
        throw new Problem("", { again: true });
      }
      const text = await answer.text();
      if (answer.ok) return text ? JSON.parse(text) : null;
      throw problemOf(answer.status, text, answer.headers.get("Retry-After"), this.words.failed);
    },
    async patiently(work) {
      for (let tries = 0; ; tries += 1) {
        if (this.stopped) throw new Cancelled();
        try {
          return await work();
        } catch (error) {
          if (!error.again) throw error;
          await this.pause(error, tries);
        }
      }
    },
    pause(error, tries) {
      this.state = "waiting";
      this.remark = this.words.waiting;
      this.left = "";
      const seconds = error.wait ?? WAITS_S[Math.min(tries, WAITS_S.length - 1)];
      return new Promise((resolve) => {
        const go = () => {
          window.removeEventListener("online", go);
          clearTimeout(clock);
          resolve();
        };
        const clock = setTimeout(go, seconds * 1000);
        window.addEventListener("online", go);
        this.wake = go;
      });
    },
    show(sent) {
      this.sent = Math.min(sent, this.total);
      const seconds = (performance.now() - this.began.at) / 1000;
      const speed = (sent - this.began.offset) / seconds;
      const rest = (this.total - sent) / speed;
      const known = seconds > 1 && Number.isFinite(rest) && rest >= 1;
      this.left = known ? this.duration(rest) : "";
    },
    duration(seconds) {
      const unit = seconds < 90 ? "second" : seconds < 5400 ? "minute" : "hour";
      const value = Math.ceil(seconds / { second: 1, minute: 60, hour: 3600 }[unit]);
      const style = { style: "unit", unit, unitDisplay: "long" };
      return new Intl.NumberFormat(this.locale, style).format(value);
    },
    async cancel() {
      this.stopped = true;
      this.request?.abort();
      this.wake?.();
      localStorage.removeItem(KEPT);
      const id = this.upload;
      for (let tries = 0; id && tries < 4; tries += 1) {
        try {
          await this.ask("DELETE", `/uploads/${id}`);
          return;
        } catch (error) {
          if (!error.again) return; // it is done, or gone
          await new Promise((resolve) => setTimeout(resolve, 500 * (tries + 1)));
        }
      }
    },
  },
};
