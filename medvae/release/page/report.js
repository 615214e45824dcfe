(function () {
  var viewer = document.querySelector(".viewer");
  if (!viewer) return;
  var volume = document.getElementById("volume");
  var labels = document.getElementById("labels");
  function show(slider) {
    var place = slider.max > 0 ? (slider.value / slider.max) * 100 + "%" : "0%";
    var layers = slider.closest("figure").querySelectorAll(".grey, .over");
    for (var i = 0; i < layers.length; i++) layers[i].style.backgroundPositionY = place;
  }
  var sliders = viewer.querySelectorAll("input[type=range]");
  sliders.forEach(function (slider) {
    slider.addEventListener("input", function () { show(slider); });
    show(slider);
  });
  volume.addEventListener("change", function () {
    viewer.dataset.volume = volume.value;
    sliders.forEach(function (slider) {
      slider.max = slider.dataset.frames.split(",")[volume.value] - 1;
      slider.value = slider.dataset.middles.split(",")[volume.value];
      show(slider);
    });
  });
  if (labels) labels.addEventListener("change", function () {
    viewer.classList.toggle("plain", !labels.checked);
  });
})();
