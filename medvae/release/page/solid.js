(function () {
  var view = document.getElementById("view");
  if (!view) return;
  var viewer = document.querySelector(".viewer"), scene = document.querySelector(".scene");
  var canvas = scene.querySelector("canvas"), said = document.querySelector(".place output");
  var volume = document.getElementById("volume");
  var looks = ["brightness", "contrast"].map(function (id) { return document.getElementById(id); });
  var told = JSON.parse(text("solid-told")), shown = null, opening = null, wanted = 0;
  function text(id) { var one = document.getElementById(id); return one && one.textContent; }
  function ticked(id) { var box = document.getElementById(id); return !box || box.checked; }
  function bytes(base64) {
    var raw = atob(base64), out = new Uint8Array(raw.length);
    for (var i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  async function code() {
    var stream = new Blob([bytes(text("solid-code"))]).stream();
    var plain = await new Response(stream.pipeThrough(new DecompressionStream("gzip"))).text();
    var script = document.createElement("script");
    // The policy lets exactly this text run, by its digest.
    script.textContent = plain;
    document.head.appendChild(script);
  }
  async function start() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("no WebGL 2");
    await code();
    shown = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.84, 0.29, 0.9], fontColor: [1, 1, 1, 1],
      clipPlaneColor: [0, 0, 0, 0], isClipAllVolumes: true,
      show3Dcrosshair: true, dragAndDropEnabled: false, multiplanarForceRender: true,
      multiplanarShowRender: 1, viewModeHotKey: "", clipPlaneHotKey: "", logLevel: "error",
      scrollRequiresFocus: true, multiplanarLayout: 2, multiplanarPadPixels: 6
    });
    await shown.attachToCanvas(canvas);
    await shown.setVolumeRenderIllumination(0.6);
    shown.onLocationChange = say;
  }
  function table() {
    var out = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    Object.keys(told.names).forEach(function (number) {
      var colour = told.colours[(number - 1) % told.colours.length];
      out.R.push(colour[0]); out.G.push(colour[1]); out.B.push(colour[2]);
      out.A.push(255); out.I.push(Number(number)); out.labels.push(told.names[number]);
    });
    return out;
  }
  async function load() {
    var index = volume.value, labels = text("solid-labels-" + index);
    while (shown.volumes.length) shown.removeVolumeByIndex(shown.volumes.length - 1);
    shown.addVolume(await niivue.NVImage.loadFromBase64({
      base64: text("solid-image-" + index), name: "image.nii.gz", colormap: "gray",
      cal_min: 0, cal_max: 255
    }));
    if (labels) {
      var map = await niivue.NVImage.loadFromBase64({ base64: labels, name: "labels.nii.gz" });
      map.setColormapLabel(table());
      shown.addVolume(map);
    }
    wanted = index;
    shown.setRenderAzimuthElevation(200, 15);
    meet();
    draw();
  }
  function meet() {
    // The crosshair stands where the slices do.
    ["sagittal", "coronal", "axial"].forEach(function (plane, axis) {
      var range = document.querySelector("." + plane).parentElement.querySelector("input");
      shown.scene.crosshairPos[axis] = (Number(range.value) + 0.5) / (Number(range.max) + 1);
    });
    shown.createOnLocationChange();
  }
  function draw() {
    shown.setSliceType(view.value === "solid" ? shown.sliceTypeRender : shown.sliceTypeMultiplanar);
    shown.setCrosshairWidth(ticked("cross") ? 0.3 : 0);
    shown.opts.show3Dcrosshair = ticked("cross");
    shown.setClipPlane(ticked("cut") && view.value === "solid" ? [0, 180, 0] : [2, 0, 0]);
    if (shown.volumes.length > 1) shown.setOpacity(1, ticked("labels") ? 0.5 : 0);
    look();
    var name = volume.options[volume.selectedIndex].text;
    var what = view.value === "solid" ? "in three dimensions" : "in three planes and three dimensions";
    canvas.setAttribute("aria-label", name + " " + what);
  }
  function look() {
    // As the style of the slices: first brightness, then contrast about the middle.
    var light = looks[0].value / 100, contrast = looks[1].value / 100, image = shown.volumes[0];
    image.cal_min = 255 * (0.5 - 0.5 / contrast) / light;
    image.cal_max = 255 * (0.5 + 0.5 / contrast) / light;
    shown.updateGLVolume();
  }
  function say(place) {
    var map = place.values[1], name = map ? told.names[Math.round(map.value)] || "no label" : "";
    var at = Array.prototype.slice.call(place.mm, 0, 3).map(function (one) { return one.toFixed(1); });
    said.textContent = "Crosshair at " + at.join(", ") + " mm" + (name && ": " + name);
  }
  async function show() {
    var flat = view.value === "slices";
    viewer.classList.toggle("solid", !flat);
    viewer.classList.toggle("whole", view.value === "solid");
    scene.hidden = flat;
    if (flat) return;
    try {
      opening = opening || start();
      await opening;
      if (shown.volumes.length === 0 || wanted !== volume.value) await load(); else draw();
    } catch (error) {
      view.value = "slices";
      scene.hidden = true;
      viewer.classList.remove("solid", "whole");
      refuse();
      console.error(error);
    }
  }
  function refuse() {
    view.disabled = true;
    document.querySelector(".flat").hidden = false;
  }
  // Whether a context of it can be had is seen when one is asked for.
  if (!window.WebGL2RenderingContext || !window.DecompressionStream) { refuse(); return; }
  // One after the other: of two volumes that load at once, parts of both would be shown.
  var turn = Promise.resolve();
  function next() { turn = turn.then(show); }
  view.addEventListener("change", next);
  volume.addEventListener("change", next);
  ["labels", "cross", "cut"].forEach(function (id) {
    var box = document.getElementById(id);
    if (box) box.addEventListener("change", function () { if (!scene.hidden) draw(); });
  });
  looks.forEach(function (one) {
    one.addEventListener("input", function () { if (!scene.hidden) look(); });
  });
  document.getElementById("reset").addEventListener("click", function () {
    if (scene.hidden) return;
    wanted = null;
    next();
  });
  var moves = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1]
  };
  function press(event) {
    // NiiVue has keys of its own, which differ from those of the rest of the viewer.
    event.stopPropagation();
    var move = moves[event.key];
    if (!move) { viewer.dispatchEvent(new KeyboardEvent("keydown", { key: event.key })); return; }
    event.preventDefault();
    if (view.value === "planes") shown.moveCrosshairInVox(move[0], move[1], move[2]);
    else shown.setRenderAzimuthElevation(
      shown.scene.renderAzimuth + 10 * move[0], shown.scene.renderElevation + 10 * move[1]
    );
  }
  scene.addEventListener("keydown", function (event) {
    if (shown && event.key !== "Tab") press(event);
  }, true);
  scene.addEventListener("keyup", function (event) { event.stopPropagation(); }, true);
})();
