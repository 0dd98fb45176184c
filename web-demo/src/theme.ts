/** Light and dark: the system's choice, until the reader makes one. */
const KEY = "quaver-theme";

export function theme(button: HTMLElement): void {
  const root = document.documentElement;
  const set = (choice: string | null): void => {
    if (choice === "light" || choice === "dark") {
      root.dataset["theme"] = choice;
    }
  };
  set(remembered());
  button.addEventListener("click", () => {
    const current = root.dataset["theme"] ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const next = current === "dark" ? "light" : "dark";
    set(next);
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Without storage, the choice holds until the page is closed.
    }
  });
}

function remembered(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
