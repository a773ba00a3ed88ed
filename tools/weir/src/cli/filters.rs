//! The filter flags (DESIGN §7), the same wherever rows are chosen.

use clap::Args;
use weir_engine::filter::{FilterError, FilterFlags, FilterSet};

/// Filter flags; different flags combine with AND.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters (different ones combine with AND)")]
pub(crate) struct FilterArgs {
    /// Any of these methods: GET,POST
    #[arg(long, value_name = "LIST")]
    pub(crate) method: Vec<String>,
    /// Any of these status codes: 200,4xx,500-599,none (none: no response)
    #[arg(long, value_name = "LIST")]
    pub(crate) status: Vec<String>,
    /// URL contains any of these (repeatable); /…/ is a regular expression; case does not matter
    #[arg(long, value_name = "TEXT")]
    pub(crate) url: Vec<String>,
    /// URL contains none of these (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub(crate) not_url: Vec<String>,
    /// Any of these media types or categories: json,text/html,image/*
    #[arg(long = "type", value_name = "LIST")]
    pub(crate) media_type: Vec<String>,
    /// Any of these domains: api.example.com,*.example.org
    #[arg(long, value_name = "LIST")]
    pub(crate) domain: Vec<String>,
    /// Any of these devices
    #[arg(long, value_name = "LIST")]
    pub(crate) device: Vec<String>,
    /// Any of these sources: proxy, packets, browser, import
    #[arg(long, value_name = "LIST")]
    pub(crate) source: Vec<String>,
    /// Any condition: "status >= 400 AND url ~ '/v[0-9]+/'" (repeatable)
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) where_: Vec<String>,
}

impl FilterArgs {
    /// The flags as the engine knows them.
    pub(crate) fn flags(&self) -> FilterFlags {
        FilterFlags {
            method: self.method.clone(),
            status: self.status.clone(),
            url: self.url.clone(),
            not_url: self.not_url.clone(),
            media_type: self.media_type.clone(),
            domain: self.domain.clone(),
            device: self.device.clone(),
            source: self.source.clone(),
            where_: self.where_.clone(),
        }
    }

    /// The filter they make.
    pub(crate) fn build(&self) -> Result<FilterSet, FilterError> {
        self.flags().build()
    }
}
