//! Findings about the CA: there, valid, its key closed, and who trusts it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use weir_proxy::ca::Authority;
use weir_storage::Home;

use super::Finding;
use crate::trust::{self, Anchor, Machine, Store, Target, Trust};

/// A CA that ends within this time deserves a look, seconds.
const SOON: i64 = 30 * 86_400;

/// Looks at the CA, without making one.
pub(super) fn check(home: &Home) -> Vec<Finding> {
    match Authority::load(&home.ca_dir()) {
        Ok(None) => vec![Finding::ok("ca", "the certificate authority will be made at the first capture")],
        Ok(Some(authority)) => {
            let mut findings = vec![
                Finding::ok("ca", format!("{}, key readable by its owner only", authority.subject())),
                validity(&authority),
            ];
            findings.extend(trusted(&authority));
            findings
        }
        Err(error) => {
            let text = error.to_string();
            let (what, hint) = text.split_once("; ").unwrap_or((&text, "weir ca import replaces it"));
            vec![Finding::fail("ca", what, hint)]
        }
    }
}

fn validity(authority: &Authority) -> Finding {
    let (from, until) = authority.validity();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let date = |seconds| Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    if now < from || now > until {
        Finding::fail(
            "ca_valid",
            format!("the certificate is valid from {} until {}", date(from), date(until)),
            "check the clock; weir ca import replaces the authority",
        )
    } else if until - now < SOON {
        let hint = "weir ca import replaces it; devices must then trust the new one";
        Finding::warn("ca_valid", format!("the certificate ends on {}", date(until)), hint)
    } else {
        Finding::ok("ca_valid", format!("the certificate is valid until {}", date(until)))
    }
}

fn trusted(authority: &Authority) -> Vec<Finding> {
    let Some(machine) = Machine::this() else { return Vec::new() };
    let stores = trust::status(&Anchor::of(authority), &Target::ALL, &machine);
    [("ca_trusted_system", "programs of this machine"), ("ca_trusted_browsers", "browsers of this user")]
        .into_iter()
        .filter_map(|(code, who)| {
            let of_kind = |store: &Store| matches!(store, Store::System(_)) == (code == "ca_trusted_system");
            let kind: Vec<&Trust> = stores.iter().filter(|(store, _)| of_kind(store)).map(|(_, trust)| trust).collect();
            let bad = kind.iter().find(|trust| ***trust != Trust::Trusted);
            Some(match (kind.is_empty(), bad) {
                (true, _) => return None,
                (false, None) => Finding::ok(code, format!("{who} trust the certificate")),
                (false, Some(Trust::Unknown(why))) => Finding::warn(
                    code,
                    format!("whether {who} trust the certificate is not known: {why}"),
                    "weir ca install",
                ),
                (false, Some(_)) => Finding::warn(
                    code,
                    format!("{who} do not trust the certificate"),
                    "weir ca install (with sudo -E for the system's store)",
                ),
            })
        })
        .collect()
}
