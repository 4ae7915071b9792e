// Shows what people are told of their work as a notification of the browser. All texts are only
// texts; the same tag is shown once, however many pages are open.

export default {
  template: `<div hidden></div>`,
  methods: {
    async ask() {
      if (!("Notification" in window)) return "unsupported";
      return await Notification.requestPermission();
    },
    show(told) {
      if (!("Notification" in window) || Notification.permission !== "granted") return false;
      try {
        const shown = new Notification(told.title, { body: told.text, tag: told.tag });
        shown.onclick = () => {
          window.focus();
          if (told.path.startsWith("/") && !told.path.startsWith("//")) location.assign(told.path);
          shown.close();
        };
        return true;
      } catch {
        return false; // phones want a service worker for it; the page shows the text itself
      }
    },
  },
};
