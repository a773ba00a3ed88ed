//! The filter language (**contract**, DESIGN §7): SQL conditions over the columns of `exchanges`, the
//! same at capture, in queries, in the UI and in exports.
//!
//! In: text, or the flags that are sugar for it. Out: [`Expr`], a checked and compiled condition,
//! decided row by row here and column by column in `weir-storage` with the same three-valued logic.
//!
//! - [`column`]: the columns a condition may name, and their kinds.
//! - [`error`]: what is wrong with a text, where, and what to write instead.
//! - [`lexer`] → [`check`] → [`parser`]: text to tokens, literals typed by their column, expression.
//! - [`pattern`]: LIKE and regular expressions, compiled once, linear in time.
//! - [`ast`]: the expression itself; [`display`]: its canonical text.
//! - [`eval`]: the evaluator over one row; [`row`]: an exchange as a row.
//! - [`set`]: named rules that a row must pass; [`flags`]: `--method`, `--status`, … as rules.
//!
//! ```text
//! condition  = and *( OR and )
//! and        = not *( AND not )
//! not        = NOT not / "(" condition ")" / TRUE / FALSE / predicate
//! predicate  = field compare literal / literal compare field
//!            / field [NOT] IN "(" literal *( "," literal ) ")"
//!            / field [NOT] BETWEEN literal AND literal
//!            / field [NOT] ( LIKE / ILIKE ) text [ESCAPE text]
//!            / field ( "~" / "!~" / "~*" / "!~*" ) text
//!            / field IS [NOT] NULL
//! field      = column / request_header(text) / response_header(text)
//! compare    = "=" / "!=" / "<>" / "<" / "<=" / ">" / ">="
//! ```
//!
//! Text stands in single quotes (`''` is one quote); timestamps are RFC 3339 text, UTC where no
//! offset is given; hashes are 64 hexadecimal digits in quotes. LIKE knows `%` (any run of
//! characters) and `_` (one), and an escape character only where `ESCAPE` names one. ILIKE and `~*`
//! ignore case by Unicode's simple folding. Comparisons of text are by bytes. A comparison with NULL
//! is unknown, and a row passes only where the condition is true.

pub mod ast;
pub mod check;
pub mod column;
pub mod display;
pub mod error;
pub mod eval;
pub mod flags;
pub mod lexer;
pub mod parser;
pub mod pattern;
pub mod row;
pub mod set;

pub use ast::{Comparison, Expr, Field, Literal, LiteralSet};
pub use column::{Column, ColumnKind};
pub use error::FilterError;
pub use eval::{Row, Value};
pub use flags::FilterFlags;
pub use pattern::{LikePattern, RegexPattern};
pub use set::{FilterSet, Rule};
