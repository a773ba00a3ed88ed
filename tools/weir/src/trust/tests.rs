//! Tests of the stores, with temporary roots and homes, and the real certutil.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

/// A Debian-like machine in a folder: its program builds the bundle by concatenation.
fn machine(dir: &Path) -> Machine {
    let machine = Machine { root: dir.join("root"), home: dir.join("home"), path: None };
    let anchors = machine.at("/usr/local/share/ca-certificates");
    let bundle = machine.at("/etc/ssl/certs/ca-certificates.crt");
    for folder in [&anchors, bundle.parent().expect("has one"), &dir.join("bin"), &machine.home] {
        fs::create_dir_all(folder).expect("makes");
    }
    fs::write(&bundle, "").expect("writes");
    let program = dir.join("bin/update-ca-certificates");
    let script = format!("#!/bin/sh\ncat {}/*.crt > {} 2>/dev/null || true\n", anchors.display(), bundle.display());
    fs::write(&program, script).expect("writes");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("allows");
    let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    Machine { path: Some(path.into()), ..machine }
}

fn anchor() -> Anchor {
    Anchor::of(&Authority::ephemeral().expect("makes"))
}

fn outcomes(changes: &[Change]) -> Vec<&Outcome> {
    changes.iter().map(|change| &change.outcome).collect()
}

#[test]
fn the_system_store_is_changed_and_changed_back() {
    let dir = tempfile::tempdir().expect("makes");
    let machine = machine(dir.path());
    let (ours, other) = (anchor(), anchor());
    let system = [Target::System];
    let install = |anchor: &Anchor, dry_run| install(anchor, &system, &machine, dry_run);
    assert!(matches!(outcomes(&install(&ours, true))[..], [Outcome::Would(_)]));
    assert_eq!(status(&ours, &system, &machine)[0].1, Trust::NotTrusted);
    assert_eq!(outcomes(&install(&ours, false)), [&Outcome::Added]);
    assert_eq!(outcomes(&install(&other, false)), [&Outcome::Added]);
    assert_eq!(outcomes(&install(&ours, false)), [&Outcome::AlreadyThere]);
    assert_eq!(status(&ours, &system, &machine)[0].1, Trust::Trusted);
    assert_eq!(outcomes(&uninstall(&ours, &system, &machine, false)), [&Outcome::Removed]);
    assert_eq!(outcomes(&uninstall(&ours, &system, &machine, false)), [&Outcome::NotThere]);
    assert_eq!(status(&ours, &system, &machine)[0].1, Trust::NotTrusted);
    assert_eq!(status(&other, &system, &machine)[0].1, Trust::Trusted);
    // The program of the system is missing.
    let bare = Machine { path: Some(dir.path().join("none").into()), ..machine.clone() };
    assert!(matches!(super::install(&ours, &system, &bare, false)[0].outcome, Outcome::ProgramMissing(_)));
}

#[test]
fn nss_databases_are_made_changed_and_changed_back() {
    let dir = tempfile::tempdir().expect("makes");
    let machine = machine(dir.path());
    let profile = machine.home.join(".mozilla/firefox/abc.default");
    let snap = machine.home.join("snap/chromium/current");
    for folder in [&profile, &snap] {
        fs::create_dir_all(folder).expect("makes");
    }
    let database = format!("sql:{}", profile.display());
    let made = machine.run("certutil", &["-N", "-d", &database, "--empty-password"], "");
    if made.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        eprintln!("certutil is not on this machine; nothing tested");
        return;
    }
    let (ours, other) = (anchor(), anchor());
    let nss = [Target::Nss];
    assert!(status(&ours, &nss, &machine).iter().all(|(_, trust)| *trust == Trust::NotTrusted));
    let would = install(&ours, &nss, &machine, true);
    assert_eq!(would.len(), 3, "{would:?}");
    assert_eq!(would[2].store, Store::Nss(stores::NssPlace { dir: profile.clone(), user: "Firefox" }));
    assert!(would.iter().all(|change| matches!(change.outcome, Outcome::Would(_))));
    assert!(!machine.home.join(".pki").exists(), "a dry run makes nothing");
    assert_eq!(outcomes(&install(&ours, &nss, &machine, false)), [&Outcome::Added; 3]);
    assert_eq!(outcomes(&install(&ours, &nss, &machine, false)), [&Outcome::AlreadyThere; 3]);
    assert_eq!(outcomes(&install(&other, &nss, &machine, false)), [&Outcome::Added; 3]);
    assert!(status(&ours, &nss, &machine).iter().all(|(_, trust)| *trust == Trust::Trusted));
    // Someone took the trust away: install gives it back.
    let distrust = machine.run("certutil", &["-M", "-d", &database, "-t", ",,", "-n", &ours.label], "").expect("runs");
    assert!(distrust.status.success());
    assert!(status(&ours, &nss, &machine).iter().any(|(_, trust)| *trust == Trust::NotTrusted));
    assert!(install(&ours, &nss, &machine, false).iter().any(|change| change.outcome == Outcome::Added));
    assert_eq!(outcomes(&uninstall(&ours, &nss, &machine, false)), [&Outcome::Removed; 3]);
    assert_eq!(outcomes(&uninstall(&ours, &nss, &machine, false)), [&Outcome::NotThere; 3]);
    assert!(status(&other, &nss, &machine).iter().all(|(_, trust)| *trust == Trust::Trusted));
}

#[test]
fn a_missing_certutil_is_said_with_the_line_that_installs_it() {
    let dir = tempfile::tempdir().expect("makes");
    let machine = machine(dir.path());
    fs::create_dir_all(machine.at("/usr/bin")).expect("makes");
    fs::write(machine.at("/usr/bin/apt-get"), "").expect("writes");
    let bare = Machine { path: Some(dir.path().join("none").into()), ..machine };
    let changes = install(&anchor(), &[Target::Nss], &bare, false);
    assert_eq!(outcomes(&changes), [&Outcome::ProgramMissing("sudo apt-get install libnss3-tools".to_owned())]);
}

#[test]
fn advice_can_be_pasted() {
    let all = advice::lines(&anchor(), Path::new("/home/a b/it's/ca.crt"));
    assert!(all.iter().flat_map(|advice| &advice.lines).any(|line| line.ends_with(r"='/home/a b/it'\''s/ca.crt'")));
    assert!(all.iter().any(|advice| advice.title == "Java"));
    assert_eq!(Target::ALL.len(), 2);
    assert!(Machine::this().is_none_or(|machine| machine.root == Path::new("/")));
    let store = Store::Nss(stores::NssPlace { dir: "/x".into(), user: "Chromium and Chrome" });
    assert_eq!(store.to_string(), "Chromium and Chrome (/x)");
}
