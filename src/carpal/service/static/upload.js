// Dropping files and folders, and the progress of an upload. Without this module the form still works.
const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const files = document.getElementById("files");
const folder = document.getElementById("folder");
const chosen = document.getElementById("chosen");
const progress = document.getElementById("progress");
const trouble = document.getElementById("trouble");
const refused = document.getElementById("refused");

document.getElementById("folder-label").hidden = !("webkitdirectory" in folder);

function choose(list) {
  const transfer = new DataTransfer();
  for (const file of list) if (!file.name.startsWith(".")) transfer.items.add(file);
  files.files = transfer.files;
  show();
}

function show() {
  const names = [...files.files].map((file) => file.name);
  chosen.textContent = names.length > 3 ? `${names.slice(0, 3).join(", ")} … (${names.length})` : names.join(", ");
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) break;
    for (const child of part) found.push(...(await filesOf(child)));
  }
  return found;
}

files.addEventListener("change", show);
folder.addEventListener("change", () => choose(folder.files));
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return choose(event.dataTransfer.files);
  choose((await Promise.all(entries.map(filesOf))).flat());
});

function end(request) {
  progress.hidden = true;
  let answer = {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    answer = { error: `${request.status} ${request.statusText}` };
  }
  if (request.status !== 200) {
    trouble.textContent = answer.error;
    return;
  }
  if (answer.refused.length === 0) {
    location.href = answer.location;
    return;
  }
  trouble.textContent = "";
  refused.replaceChildren(
    ...answer.refused.map((entry) => {
      const item = document.createElement("li");
      item.textContent = `${entry.file}: ${entry.error}`;
      return item;
    }),
  );
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  trouble.textContent = "";
  refused.replaceChildren();
  progress.hidden = false;
  progress.value = 0;
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (step) => {
    if (step.lengthComputable) progress.value = (100 * step.loaded) / step.total;
  });
  request.addEventListener("load", () => end(request));
  request.addEventListener("error", () => end(request));
  request.send(new FormData(form));
});
