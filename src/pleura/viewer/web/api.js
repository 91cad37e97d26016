// Requests to the server.
import { NVImage } from "@niivue/niivue";

export async function request(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error ?? `${response.status} ${response.statusText}`);
}

export async function requestJson(path, options) {
  return (await request(path, options)).json();
}

// Return the image of a case ("scan", "mask", "original" or "reference"), its ETag, whether its spacing is known,
// and the name and colour of each label of a mask with several classes.
export async function requestVolume(index, kind) {
  const response = await request(`/api/cases/${index}/${kind}.nii`);
  const image = await NVImage.loadFromUrl({ url: await response.arrayBuffer(), name: `${kind}.nii` });
  const classes = JSON.parse(decodeURIComponent(response.headers.get("Classes") ?? "[]"));
  return { image, etag: response.headers.get("ETag"), spacing: response.headers.get("Spacing-Known") === "1", classes };
}
