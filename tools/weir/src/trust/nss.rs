//! NSS databases, through certutil: the store of Chromium, Chrome, Firefox and kin on Linux.
//!
//! In: the certificate and the database. Out: what was done. Needs no root.

use std::{fs, io, os::unix::fs::DirBuilderExt};

use super::{
    Anchor, Machine, Outcome, Trust, base64_of,
    machine::{complaint, quoted},
    stores::{NssPlace, is_database},
};

const CERTUTIL: &str = "certutil";

/// What a look into a database found.
enum Look {
    /// This certificate, trusted to identify servers.
    Trusted,
    /// This certificate, without that trust.
    Known,
    /// Nothing of that name, or no database.
    Absent,
}

fn look(anchor: &Anchor, place: &NssPlace, machine: &Machine) -> Result<Look, Outcome> {
    if !is_database(&place.dir) {
        return Ok(Look::Absent);
    }
    let database = database(place);
    let listed = run(machine, &["-L", "-d", &database, "-n", &anchor.label, "-a"], "")?;
    if !listed.status.success() || base64_of(&String::from_utf8_lossy(&listed.stdout)) != anchor.base64() {
        return Ok(Look::Absent);
    }
    // The trust stands in the table of all certificates: `nickname   C,,`.
    let table = run(machine, &["-L", "-d", &database], "")?;
    let table = String::from_utf8_lossy(&table.stdout);
    let flags = table.lines().find_map(|line| line.trim().strip_prefix(anchor.label.as_str()));
    let trusted = flags.is_some_and(|flags| flags.trim().split(',').next().is_some_and(|ssl| ssl.contains('C')));
    Ok(if trusted { Look::Trusted } else { Look::Known })
}

pub(super) fn install(anchor: &Anchor, place: &NssPlace, machine: &Machine, dry_run: bool) -> Outcome {
    match look(anchor, place, machine) {
        Err(outcome) => return outcome,
        Ok(Look::Trusted) => return Outcome::AlreadyThere,
        Ok(Look::Known | Look::Absent) => {}
    }
    if dry_run {
        return Outcome::Would(format!(
            "{CERTUTIL} -A -d sql:{} -t C,, -n {} -i CA.pem",
            quoted(&place.dir),
            anchor.label
        ));
    }
    let database = database(place);
    if !is_database(&place.dir) {
        if let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(&place.dir) {
            return Outcome::Failed(format!("cannot create {}: {error}", place.dir.display()));
        }
        match run(machine, &["-N", "-d", &database, "--empty-password"], "") {
            Err(outcome) => return outcome,
            Ok(output) if !output.status.success() => return Outcome::Failed(complaint(CERTUTIL, &output)),
            Ok(_) => {}
        }
    }
    match run(machine, &["-A", "-d", &database, "-t", "C,,", "-n", &anchor.label, "-a"], &anchor.pem) {
        Err(outcome) => outcome,
        Ok(output) if output.status.success() => Outcome::Added,
        Ok(output) => Outcome::Failed(format!(
            "{}; close the browser and try again, or import the certificate in its settings",
            complaint(CERTUTIL, &output)
        )),
    }
}

pub(super) fn uninstall(anchor: &Anchor, place: &NssPlace, machine: &Machine, dry_run: bool) -> Outcome {
    match look(anchor, place, machine) {
        Err(outcome) => return outcome,
        Ok(Look::Absent) => return Outcome::NotThere,
        Ok(Look::Trusted | Look::Known) => {}
    }
    if dry_run {
        return Outcome::Would(format!("{CERTUTIL} -D -d sql:{} -n {}", quoted(&place.dir), anchor.label));
    }
    match run(machine, &["-D", "-d", &database(place), "-n", &anchor.label], "") {
        Err(outcome) => outcome,
        Ok(output) if output.status.success() => Outcome::Removed,
        Ok(output) => Outcome::Failed(format!("{}; close the browser and try again", complaint(CERTUTIL, &output))),
    }
}

pub(super) fn status(anchor: &Anchor, place: &NssPlace, machine: &Machine) -> Trust {
    match look(anchor, place, machine) {
        Ok(Look::Trusted) => Trust::Trusted,
        Ok(Look::Known | Look::Absent) => Trust::NotTrusted,
        Err(Outcome::ProgramMissing(line)) => Trust::Unknown(format!("{CERTUTIL} is missing; {line}")),
        Err(Outcome::Failed(reason)) => Trust::Unknown(reason),
        Err(_) => Trust::Unknown("the database cannot be read".to_owned()),
    }
}

fn database(place: &NssPlace) -> String {
    format!("sql:{}", place.dir.display())
}

fn run(machine: &Machine, arguments: &[&str], input: &str) -> Result<std::process::Output, Outcome> {
    machine.run(CERTUTIL, arguments, input).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Outcome::ProgramMissing(machine.certutil_line()),
        _ => Outcome::Failed(format!("cannot run {CERTUTIL}: {error}")),
    })
}
