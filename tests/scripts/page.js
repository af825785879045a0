// What the modules of the page look at when they are imported. Their logic is tested here; all else in a browser.

const nowhere = { addEventListener() {} };
Object.assign(globalThis, {
  document: { body: { dataset: { root: "" } }, getElementById: () => nowhere },
  sessionStorage: { getItem: () => null },
  window: nowhere,
});

export const load = (name) => import(`../../src/rowvec/serve/page/static/${name}`);
