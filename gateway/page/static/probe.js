// Finds out, before a file is sent, whether this browser can show it.

const LONGEST_MS = 4000;

/** Return "video", "picture" or "none". */
export async function kindOf(file) {
  const url = URL.createObjectURL(file);
  try {
    if (file.type.startsWith("image/")) return (await canShowPicture(url)) ? "picture" : "none";
    return (await canPlay(url)) ? "video" : "none";
  } finally {
    URL.revokeObjectURL(url);
  }
}

function canPlay(url) {
  return new Promise((resolve) => {
    const video = document.createElement("video");
    const end = (answer) => {
      clearTimeout(timer);
      video.removeAttribute("src");
      video.load();
      resolve(answer);
    };
    const timer = setTimeout(() => end(false), LONGEST_MS);
    video.muted = true;
    video.preload = "metadata";
    // Where only the sound can be played, metadata load as well, but tell no size.
    video.addEventListener("loadedmetadata", () => end(video.videoWidth > 0), { once: true });
    video.addEventListener("error", () => end(false), { once: true });
    video.src = url;
  });
}

function canShowPicture(url) {
  return new Promise((resolve) => {
    const picture = new Image();
    picture.addEventListener("load", () => resolve(picture.naturalWidth > 0));
    picture.addEventListener("error", () => resolve(false));
    picture.src = url;
  });
}
