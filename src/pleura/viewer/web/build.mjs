// Bundles the page into ../static.
import { readFile } from "node:fs/promises";
import { build } from "esbuild";

// NiiVue draws the gradient of the whole volume whenever its window changes, for a lighting that this page has not: most
// of the time and half of the graphics memory of a large scan. Its flag that should spare it is not read in 0.69.
const CALL = "this.gradientTexture = gradientGL({\n        gl: this.gl,\n        hdr,\n        genericVAO";
const gradientSpared = {
  name: "gradient spared",
  setup({ onLoad }) {
    onLoad({ filter: /niivue[/\\]build[/\\]niivue[/\\]index\.js$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      if (source.split(CALL).length !== 2) throw new Error("NiiVue has changed: look at build.mjs again");
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
  plugins: [gradientSpared],
});
