// Bundles the page into ../static.
import { readFile } from "node:fs/promises";
import { build } from "esbuild";

// NiiVue computes the gradient of the volume whenever the intensity window changes, for a lighting effect that the page
// does not use. It takes most of the time and half of the GPU memory of a large scan. The option of NiiVue that
// disables it, useCustomGradientTexture, has no effect in version 0.69: this plugin adds the missing test.
const CALL = "this.gradientTexture = gradientGL({\n        gl: this.gl,\n        hdr,\n        genericVAO";
const skipGradient = {
  name: "skip gradient",
  setup({ onLoad }) {
    onLoad({ filter: /niivue[/\\]build[/\\]niivue[/\\]index\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      if (source.split(CALL).length !== 2) throw new Error("NiiVue has changed: update skipGradient in build.mjs");
      return { contents: source.replace(CALL, `if (!this.useCustomGradientTexture) ${CALL}`), loader: "js" };
    });
  },
};

await build({
  entryPoints: ["viewer.js", "style.css", "index.html"],
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "linked",
  loader: { ".html": "copy" },
  external: ["/static/*"],
  outdir: "../static",
  logLevel: "info",
  plugins: [skipGradient],
});
