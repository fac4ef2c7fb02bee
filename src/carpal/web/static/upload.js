// Dropping files and folders, uploading them one by one, and the list while studies wait. Without this module the form
// still works: it sends everything at once.
const form = document.getElementById("upload");
const drop = document.getElementById("drop");
const files = document.getElementById("files");
const folder = document.getElementById("folder");
const chosen = document.getElementById("chosen");
const progress = document.getElementById("progress");
const trouble = document.getElementById("trouble");
const refused = document.getElementById("refused");
const count = document.getElementById("count");
const button = form.querySelector(".actions button");
const TRIES = 20;
let uploading = false;
let polling = false;

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

// The form for one file: every field, and this file in place of all that were chosen.
function bodyOf(file, alone) {
  const body = new FormData(form);
  if (alone) body.append("alone", "true"); // the answer waits for the age, if that is soon
  body.delete("files");
  body.append("files", file, file.name);
  return body;
}

// Sends one file; resolves to {status, location, error, wait}, whatever happens. `wait`: seconds after which to try again.
function send(file, alone, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", (step) => onProgress(step.loaded));
    request.addEventListener("load", () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = { error: `${request.status} ${request.statusText}` };
      }
      const wait = Number(request.getResponseHeader("Retry-After")) || 0;
      resolve({ status: request.status, location: answer.location, error: answer.error, wait });
    });
    request.addEventListener("error", () => resolve({ status: 0, error: form.dataset.lost, wait: 0 }));
    request.send(bodyOf(file, alone));
  });
}

// One file, again where the service asks to come later.
async function deliver(file, alone, onProgress) {
  if (file.size > Number(form.dataset.largest)) return { status: 413, error: form.dataset.large };
  for (let tries = 1; ; tries += 1) {
    const answer = await send(file, alone, onProgress);
    if (!answer.wait || tries === TRIES) return answer;
    await new Promise((resolve) => setTimeout(resolve, 1000 * answer.wait));
  }
}

function refuse(name, error) {
  const item = document.createElement("li");
  const title = document.createElement("strong");
  title.textContent = name;
  const why = document.createElement("span");
  why.lang = "en"; // as the server says it
  why.textContent = error;
  item.append(title, " ", why);
  refused.append(item);
  trouble.textContent = form.dataset.refused;
}

// Sends all files, one request each; returns the addresses of those that were taken.
async function deliverAll(list) {
  const total = list.reduce((sum, file) => sum + file.size, 0) || 1;
  const taken = [];
  let done = 0;
  for (const [index, file] of list.entries()) {
    count.textContent = form.dataset.count.replace("{n}", index + 1).replace("{m}", list.length);
    const answer = await deliver(file, list.length === 1, (loaded) => {
      progress.value = (100 * (done + Math.min(loaded, file.size))) / total;
    });
    done += file.size;
    progress.value = (100 * done) / total;
    if (answer.status === 200) taken.push(answer.location);
    else refuse(file.name, answer.error);
    if ([401, 403, 507].includes(answer.status)) break; // the others would fare the same
    if (answer.status === 200 && list.length > 1) poll();
  }
  return taken;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const list = [...files.files];
  if (uploading || list.length === 0) return;
  trouble.textContent = "";
  refused.replaceChildren();
  uploading = button.disabled = true;
  progress.hidden = false;
  progress.value = 0;
  const taken = await deliverAll(list);
  uploading = button.disabled = false;
  progress.hidden = true;
  count.textContent = form.dataset.taken.replace("{n}", taken.length).replace("{m}", list.length);
  if (list.length === 1 && taken.length === 1) location.href = taken[0];
  else {
    if (taken.length > 0) choose([]); // so that nobody sends them a second time
    await refresh();
    poll();
  }
});

// The list as it is now, in place of the one that is shown; the focus stays where it is.
async function refresh() {
  const answer = await fetch("/", { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("studies");
  const shown = document.getElementById("studies");
  if (!fresh || fresh.innerHTML === shown.innerHTML) return;
  const focused = shown.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  shown.replaceChildren(...fresh.childNodes);
  if (focused) shown.querySelector(`a[href="${focused}"]`)?.focus();
}

function waiting() {
  return document.querySelector('#studies tr[data-state="queued"], #studies tr[data-state="reading"]') !== null;
}

// Asks every two seconds, as long as a study waits or files are sent.
async function poll() {
  if (polling) return;
  polling = true;
  do {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    await refresh();
  } while (waiting() || uploading);
  polling = false;
}

if (waiting()) poll();
