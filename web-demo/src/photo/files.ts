/** Files that the reader chooses, drops anywhere on the page, or pastes. */
export function files(zone: HTMLElement, input: HTMLInputElement, taken: (file: File) => void): void {
  const take = (list: FileList | null | undefined): void => {
    const file = list?.[0];
    if (file !== undefined) {
      taken(file);
    }
  };
  input.addEventListener("change", () => {
    take(input.files);
    // So that the same file can be chosen again.
    input.value = "";
  });
  addEventListener("paste", ({ clipboardData }) => take(clipboardData?.files));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("dropping");
  });
  addEventListener("dragleave", ({ relatedTarget }) => relatedTarget === null && zone.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("dropping");
    take(event.dataTransfer?.files);
  });
}
