// Serves a page from a HAR and nothing else, in Chromium by way of Playwright, and prints what the page became.
//
//   from_har.js HAR URL [METHOD PATH BODY]...
//
// Each METHOD PATH BODY is fetched from within the page too: a JSON object of the page's text and the answers' texts.
// What the HAR does not hold is aborted: the servers need not run any more.

'use strict';

const { chromium } = require('playwright-core');

const [har, url, ...asks] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.WEIR_CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  });
  try {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    await context.routeFromHAR(har, { notFound: 'abort' });
    const page = await context.newPage();
    const response = await page.goto(url, { timeout: 60000 });
    await page.waitForSelector('#done', { state: 'attached', timeout: 60000 });
    const found = { status: response.status(), text: await page.textContent('#done'), answers: [] };
    for (let at = 0; at + 2 < asks.length; at += 3) {
      const [method, path, body] = asks.slice(at, at + 3);
      const ask = async ([method, path, body]) => {
        const answer = await fetch(path, { method, body: body || undefined, headers: { 'Content-Type': 'text/plain' } });
        return { status: answer.status, text: await answer.text() };
      };
      found.answers.push(await page.evaluate(ask, [method, path, body]));
    }
    console.log(JSON.stringify(found));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
