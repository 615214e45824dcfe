(function () {
  var viewer = document.querySelector(".viewer");
  if (!viewer) return;
  function named(id) { return document.getElementById(id); }
  var volume = named("volume"), looks = ["brightness", "contrast"].map(named);
  var panels = Array.prototype.slice.call(viewer.querySelectorAll(".panel"));
  // Where the crosshair is, in parts of each axis of the volume.
  var position = [0.5, 0.5, 0.5];
  function axes(panel) {
    var through = Number(panel.dataset.axis);
    return { through: through, across: through === 0 ? 1 : 0, up: through === 2 ? 1 : 2 };
  }
  function slider(panel) { return panel.parentElement.querySelector("input"); }
  function ofVolume(list) { return Number(list.split(",")[volume.value]); }
  function show() {
    var name = volume.options[volume.selectedIndex].text;
    panels.forEach(function (panel) {
      var range = slider(panel);
      if (!range) {
        panel.setAttribute("aria-label", name);
        return;
      }
      var axis = axes(panel), last = ofVolume(range.dataset.frames) - 1;
      var frame = Math.round(position[axis.through] * last);
      range.max = last;
      range.value = frame;
      var words = (frame + 1) + " of " + (last + 1);
      range.setAttribute("aria-valuetext", words);
      panel.parentElement.querySelector("output").textContent = words;
      panel.setAttribute("aria-label", panel.classList[1] + " slice " + words + ", " + name);
      panel.querySelectorAll(".grey, .over").forEach(function (layer) {
        layer.style.backgroundPositionY = (last > 0 ? frame / last * 100 : 0) + "%";
      });
      panel.querySelector(".v").style.left = position[axis.across] * 100 + "%";
      panel.querySelector(".h").style.top = (1 - position[axis.up]) * 100 + "%";
    });
  }
  function open() {
    viewer.dataset.volume = volume.value;
    panels.forEach(function (panel) {
      var range = slider(panel);
      if (!range) return;
      var last = Math.max(ofVolume(range.dataset.frames) - 1, 1);
      position[axes(panel).through] = ofVolume(range.dataset.middles) / last;
    });
    show();
  }
  function point(panel, event) {
    var box = panel.getBoundingClientRect(), axis = axes(panel);
    function part(value) { return Math.min(Math.max(value, 0), 1); }
    position[axis.across] = part((event.clientX - box.left) / box.width);
    position[axis.up] = part(1 - (event.clientY - box.top) / box.height);
    show();
  }
  function look() {
    viewer.style.setProperty("--look", looks.map(function (one) {
      return one.id + "(" + one.value / 100 + ")";
    }).join(" "));
  }
  function toggle(id, mark) {
    var box = named(id);
    if (box) box.addEventListener("change", function () {
      viewer.classList.toggle(mark, !box.checked);
    });
  }
  panels.forEach(function (panel) {
    var range = slider(panel);
    if (!range) return;
    range.addEventListener("input", function () {
      position[axes(panel).through] = range.max > 0 ? range.value / range.max : 0;
      show();
    });
    panel.addEventListener("pointerdown", function (event) {
      if (event.button === 0) point(panel, event);
    });
    panel.addEventListener("pointermove", function (event) {
      if (event.buttons & 1) point(panel, event);
    });
  });
  volume.addEventListener("change", open);
  looks.forEach(function (one) { one.addEventListener("input", look); });
  toggle("labels", "plain");
  toggle("cross", "uncrossed");
  named("reset").addEventListener("click", function () {
    looks.forEach(function (one) { one.value = 100; });
    look();
    open();
  });
  viewer.addEventListener("keydown", function (event) {
    var step = { n: 1, p: -1 }[event.key], box = named({ l: "labels", x: "cross" }[event.key]);
    if (event.target === volume || event.ctrlKey || event.metaKey || event.altKey) return;
    if (box) box.click();
    if (!step) return;
    volume.selectedIndex = (volume.selectedIndex + step + volume.length) % volume.length;
    volume.dispatchEvent(new Event("change"));
  });
  open();
})();
addEventListener("beforeprint", function () {
  document.querySelectorAll("details").forEach(function (one) { one.open = true; });
});
