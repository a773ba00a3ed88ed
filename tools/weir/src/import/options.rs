//! Flags of `weir import` into the configurations of the libraries. No I/O.

use anyhow::Result;
use weir_engine::{filter::FilterSet, http::BodyPolicy, shard::ShardOptions};
use weir_storage::{Home, RecorderOptions};

use crate::{
    cli::{ImportArgs, capture::Bodies, import::DeviceFrom},
    outcome::Usage,
};

/// Share of the memory for bytes that wait behind holes.
const OUT_OF_ORDER_SHARE: usize = 4;
/// Bytes of columns that are written together when a file is read.
const BULK_FLUSH_BYTES: usize = 4 << 20;
/// Longest name made of a file's.
const NAME_CHARS: usize = 120;

/// Everything that decides how an import runs.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) shard: ShardOptions,
    pub(super) jobs: usize,
    pub(super) memory: usize,
    filters: FilterSet,
    name: String,
}

impl Options {
    /// Checks the flags.
    pub(super) fn from_args(args: &ImportArgs) -> Result<Self> {
        let memory = usize::try_from(args.memory).unwrap_or(usize::MAX);
        let jobs = usize::from(args.jobs);
        let shard = ShardOptions {
            bodies: match args.bodies {
                Bodies::All => BodyPolicy::All,
                Bodies::MediaOff => BodyPolicy::MediaOff,
                Bodies::None => BodyPolicy::None,
            },
            record_responses: !args.no_responses,
            device_from_link: args.device_from == DeviceFrom::Mac,
            verify_checksums: args.verify_checksums,
            max_out_of_order: memory / OUT_OF_ORDER_SHARE / jobs,
            ..ShardOptions::default()
        };
        let filters = args.filters.build().map_err(Usage::new)?;
        Ok(Self { shard, jobs, memory, filters, name: args.name.clone().unwrap_or_else(|| name_of(args)) })
    }

    /// Batches that may wait for the recorder: about a mebibyte each, together an eighth of the memory.
    pub(super) fn queue_batches(&self) -> usize {
        (self.memory >> 23).clamp(2, 16)
    }

    /// The recorder's part of it.
    /// `bulk`: all inputs are files, which can be read again.
    pub(super) fn recorder(&self, home: &Home, bulk: bool) -> RecorderOptions {
        let defaults = RecorderOptions::new(home.clone(), "import");
        RecorderOptions {
            filters: self.filters.clone(),
            name: Some(self.name.clone()),
            bulk,
            // Written while reading goes on: the last flush is what the end waits for.
            flush_bytes: if bulk { BULK_FLUSH_BYTES } else { defaults.flush_bytes },
            ..defaults
        }
    }
}

/// `trace.pcap`, or `trace.pcap and 2 more`.
fn name_of(args: &ImportArgs) -> String {
    let first = args.files.first().map(|file| match file.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned(),
    });
    let first: String = first.unwrap_or_default().chars().filter(|c| !c.is_control()).take(NAME_CHARS).collect();
    let first = if first.trim().is_empty() { "import".to_owned() } else { first };
    match args.files.len() {
        0 | 1 => first,
        count => format!("{first} and {} more", count - 1),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(flags: &[&str]) -> Options {
        let line = ["weir", "import"].iter().chain(flags);
        let Command::Import(args) = Cli::try_parse_from(line).expect("parses").command else { panic!("not import") };
        Options::from_args(&args).expect("options")
    }

    #[test]
    fn everything_arrives() {
        let options = options(&[
            "a/b.pcap",
            "c.har",
            "--bodies",
            "none",
            "--no-responses",
            "--device-from",
            "mac",
            "--verify-checksums",
            "--jobs",
            "2",
            "--memory",
            "64MiB",
            "--method",
            "GET",
        ]);
        let shard = &options.shard;
        assert_eq!((shard.bodies, shard.record_responses), (BodyPolicy::None, false));
        assert!(shard.device_from_link && shard.verify_checksums);
        assert_eq!((options.jobs, options.memory, shard.max_out_of_order), (2, 64 << 20, 8 << 20));
        assert_eq!((options.name.as_str(), options.filters.rules.len()), ("b.pcap and 1 more", 1));
        assert_eq!(options.queue_batches(), 8);
    }

    #[test]
    fn names_that_a_session_can_have() {
        assert_eq!(options(&["-"]).name, "standard input");
        assert_eq!(options(&["x\n.pcap"]).name, "x.pcap");
        assert_eq!(options(&["x", "--name", "mine"]).name, "mine");
    }
}
