/** The page: its tabs, each made when it is first opened. */
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/parts.css";

import type { Backend } from "quaver";

import { BenchView } from "./bench/view.js";
import { BitsView } from "./bits/view.js";
import { type Catalogue, catalogue } from "./catalogue.js";
import { DigitView } from "./digit/view.js";
import { byId, el } from "./dom.js";
import { facts } from "./facts.js";
import { register } from "./offline/register.js";
import { PhotoView } from "./photo/view.js";
import { Tabs } from "./tabs.js";
import { theme } from "./theme.js";
import { trouble } from "./words.js";

/** A tab's content: `open` is called when it is first shown, `close` whenever another is. */
interface View {
  open?(): unknown;
  close?(): void;
}

function views(all: Catalogue): Record<string, () => View> {
  const told = (backend?: Backend): void => facts(byId("facts"), all, backend);
  told();
  return {
    photo: () => new PhotoView(byId("photo"), all.photo, told),
    digit: () => new DigitView(byId("digit"), all.digit, told),
    bits: () => new BitsView(byId("bits"), all, told),
    bench: () => {
      new BenchView(byId("bench"), all);
      return {};
    },
  };
}

async function start(): Promise<void> {
  theme(byId("theme"));
  const all = await catalogue();
  byId("sources").append(...all.sources.map((source) => el("li", {}, `${source.what}: ${source.package}`)));
  const makers = views(all);
  const made = new Map<string, View>();
  let shown: string | undefined;
  const tabs = new Tabs(document.querySelector("[role=tablist]") as HTMLElement, (name) => {
    if (name === shown) {
      return;
    }
    made.get(shown ?? "")?.close?.();
    shown = name;
    if (!made.has(name)) {
      const view = (makers[name] as () => View)();
      made.set(name, view);
      view.open?.();
    }
  });
  tabs.show(location.hash.slice(1));
  await register();
}

start().catch((error: unknown) => {
  const box = byId("trouble");
  box.textContent = trouble(error);
  box.hidden = false;
});
