/** Bars with names and figures. */
import { el } from "./dom.js";

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** The value in words. */
  readonly text: string;
  /** A class of the bar, for its colour. */
  readonly kind?: string;
}

/** A list of bars; the longest is as long as `whole`, or as the largest value. */
export function bars(list: readonly Bar[], whole = Math.max(...list.map(({ value }) => value))): HTMLElement {
  const row = ({ label, value, text, kind }: Bar): HTMLElement => {
    const fill = el("span", { class: "bar-fill" });
    fill.style.setProperty("--share", String(whole > 0 ? Math.min(1, value / whole) : 0));
    return el(
      "li",
      { class: `bar ${kind ?? ""}` },
      el("span", { class: "bar-label" }, label),
      el("span", { class: "bar-track", "aria-hidden": "true" }, fill),
      el("span", { class: "bar-value" }, text),
    );
  };
  return el("ol", { class: "bars" }, ...list.map(row));
}
