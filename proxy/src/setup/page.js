// Asks whether this device uses the proxy and trusts its certificate, and says so on the page.
"use strict";

async function answers(address, expected) {
  try {
    const response = await fetch(address, { cache: "no-store", credentials: "omit", mode: "cors" });
    return response.ok && (await response.text()).trim() === expected;
  } catch {
    return false;
  }
}

function tell(id, good, text) {
  const line = document.getElementById(id);
  line.className = good ? "good" : "bad";
  line.textContent = text;
}

async function check() {
  const proxied = await answers("http://weir.proxy/proxied", "proxied");
  const trusted = proxied && (await answers("https://weir.proxy/trusted", "trusted"));
  tell("proxied", proxied, proxied ? "It uses the proxy." : "It does not use the proxy yet: step 1.");
  tell("trusted", trusted, trusted ? "It trusts the certificate: all set." : "It does not trust the certificate yet: step 2.");
  return trusted;
}

// Again whenever the page is looked at: the settings are changed elsewhere meanwhile.
check();
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) check();
});
