"use strict";
// Looks again every second, and puts what is new on top. All of it was made harmless by the server; scripts in it would not run either.
let tag = document.body.dataset.tag;
async function look() {
  if (!document.hidden) {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "if-none-match": tag } });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        tag = fresh.body.dataset.tag;
        document.getElementById("about").replaceWith(document.adoptNode(fresh.getElementById("about")));
        const list = document.getElementById("requests");
        const known = new Set([...list.querySelectorAll("article")].map((one) => one.id));
        const all = [...fresh.querySelectorAll("article")];
        if (all.length > 0) list.querySelectorAll(".empty").forEach((one) => one.remove());
        for (const one of all.filter((one) => !known.has(one.id)).reverse()) list.prepend(document.adoptNode(one));
        while (list.children.length > Math.max(all.length, 1)) list.lastElementChild.remove();
      }
      const isLive = answer.ok || answer.status === 304;
      document.getElementById("live").textContent = isLive ? "live" : "this sandbox answers " + answer.status + " now";
    } catch {
      document.getElementById("live").textContent = "no answer: is the daemon running?";
    }
  }
  setTimeout(look, 1000);
}
setTimeout(look, 1000);
