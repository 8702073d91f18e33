// Loads the page of a job again where job.js cannot run: in a browser that is too old for it.

setTimeout(function () {
  if (!document.getElementById("job").hasAttribute("data-followed")) location.reload();
}, 10000);
