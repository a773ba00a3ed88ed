//! `weir ledger`: what was seen, kept and dropped, and why.

use std::io::Write;

use anyhow::Result;
use serde_json::json;
use weir_engine::ledger::Ledger;
use weir_storage::{Home, SessionEntry};

use super::{Outcome, find};
use crate::output::{Cell, Column, Cut, Out, Tone, units};

/// Prints the ledger of a session.
pub(super) fn run(session: Option<&str>, home: &Home, out: &mut Out) -> Result<Outcome> {
    let entry = find(home, session)?;
    if out.json {
        let document = json!({
            "session": entry.id, "name": entry.name, "state": entry.state, "balances": entry.ledger.balances(),
            "lost": entry.ledger.lost(), "ledger": entry.ledger,
        });
        out.json_line(&document)?;
    } else {
        print(&entry, out)?;
    }
    Ok(Outcome::Done)
}

fn print(entry: &SessionEntry, out: &mut Out) -> Result<()> {
    let heading = format!("{} ({}, {})", crate::output::text::one_line(&entry.name), entry.id, entry.state);
    out.heading(&heading)?;
    if entry.ledger.layers().next().is_none() {
        writeln!(out, "nothing was seen")?;
        return Ok(());
    }
    table(&entry.ledger, out)?;
    writeln!(out)?;
    let (tone, sentence) = verdict(&entry.ledger, entry.state.is_open());
    let sentence = out.style.paint(tone, sentence).into_owned();
    writeln!(out, "{sentence}")?;
    Ok(())
}

/// The table of layers and reasons.
pub(super) fn table(ledger: &Ledger, out: &mut Out) -> Result<()> {
    let mut table = out.table(vec![
        Column::text("layer"),
        Column::number("seen"),
        Column::number("kept"),
        Column::number("dropped"),
        Column::number("under way"),
        Column::text("why dropped").cut(Cut::End, 10),
    ]);
    for (layer, tally) in ledger.layers() {
        let mut reasons = tally.dropped.iter();
        let reason = |(reason, count): (&String, &u64)| {
            let asked = ["filter:", "policy:", "ignored:"].iter().any(|prefix| reason.starts_with(prefix));
            Cell::toned(if asked { Tone::Plain } else { Tone::Bad }, format!("{} × {reason}", units::count(*count)))
        };
        table.row(
            out,
            vec![
                layer.into(),
                units::count(tally.seen).into(),
                units::count(tally.kept).into(),
                units::count(tally.dropped_total()).into(),
                units::count(tally.under_way()).into(),
                reasons.next().map_or_else(|| Cell::from(""), reason),
            ],
        )?;
        let noted = tally
            .noted
            .iter()
            .map(|(what, count)| Cell::toned(Tone::Faint, format!("(noted: {} × {what})", units::count(*count))));
        for more in reasons.map(reason).chain(noted) {
            let empty = || Cell::from("");
            table.row(out, vec![empty(), empty(), empty(), empty(), empty(), more])?;
        }
    }
    table.finish(out)?;
    Ok(())
}

fn verdict(ledger: &Ledger, running: bool) -> (Tone, String) {
    match ledger.lost() {
        0 if ledger.balances() => (Tone::Good, "balances: seen = kept + dropped, and nothing was lost".to_owned()),
        0 if running => (Tone::Info, "running: what is under way is neither kept nor dropped yet".to_owned()),
        0 => {
            (Tone::Warn, "does not balance: what was under way when the recorder ended is not accounted for".to_owned())
        }
        lost => (Tone::Bad, format!("{} dropped without having been asked for", units::count(lost))),
    }
}

#[cfg(test)]
mod tests {
    use weir_engine::ledger::{Counters, Layer};

    use super::*;

    #[test]
    fn verdicts() {
        let counters = Counters::default();
        counters.seen(Layer::Exchanges, 3);
        counters.kept(Layer::Exchanges, 2);
        assert_eq!(verdict(&counters.snapshot(), true).0, Tone::Info);
        assert_eq!(verdict(&counters.snapshot(), false).0, Tone::Warn);
        counters.dropped(Layer::Exchanges, "filter:method", 1);
        assert_eq!(verdict(&counters.snapshot(), false).0, Tone::Good);
        counters.seen(Layer::Exchanges, 1);
        counters.dropped(Layer::Exchanges, "queue_full", 1);
        assert_eq!(verdict(&counters.snapshot(), false).0, Tone::Bad);
    }
}
