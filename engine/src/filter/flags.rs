//! The filter flags of the command line as rules: sugar for the language, each with its own name in
//! the ledger.
//!
//! The values of one flag are joined by OR (`--not-url`: none of them), different flags by AND.
//! Values are split at commas, except URLs and conditions, which may hold commas.

use super::{
    Column, Comparison, Expr, Field, FilterError, FilterSet, LikePattern, Literal, LiteralSet, RegexPattern, Rule,
    column::nearest,
};
use crate::record::{Source, host::canonical, media::Category};

/// The flags as given, each repeatable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterFlags {
    /// `--method GET,POST`: any of; `get` means `GET`.
    pub method: Vec<String>,
    /// `--status 200,4xx,500-599,none`: any of; `none`: no response.
    pub status: Vec<String>,
    /// `--url TEXT`: the URL contains any of, without regard to case; `/…/` is a regular expression
    /// (also without regard to case; `(?-i)` in it turns that off).
    pub url: Vec<String>,
    /// `--not-url TEXT`: the URL contains none of; otherwise as `url`.
    pub not_url: Vec<String>,
    /// `--type json,text/html,image/*`: categories or media types; `none`: no media type.
    pub media_type: Vec<String>,
    /// `--domain api.example.com,*.example.org`: exact, or `*.suffix`, which is every name below the
    /// suffix and not the suffix itself.
    pub domain: Vec<String>,
    /// `--device NAME`: exact or `*.suffix`.
    pub device: Vec<String>,
    /// `--source proxy`: exact.
    pub source: Vec<String>,
    /// `--where EXPR`: conditions that must all hold.
    pub where_: Vec<String>,
}

impl FilterFlags {
    /// The rules these flags mean, in the order of the fields.
    ///
    /// # Errors
    /// The first value that means nothing, with its flag and what to write.
    pub fn build(&self) -> Result<FilterSet, FilterError> {
        let mut rules = Vec::new();
        let mut add = |name: &str, given: &[String], expr: Result<Expr, FilterError>| {
            if !given.is_empty() {
                rules.push(Rule { name: name.to_owned(), expr: expr? });
            }
            Ok::<(), FilterError>(())
        };
        add("method", &self.method, method(&self.method))?;
        add("status", &self.status, status(&self.status))?;
        add("url", &self.url, url("url", &self.url))?;
        add("not-url", &self.not_url, url("not-url", &self.not_url).map(Expr::negated))?;
        add("type", &self.media_type, media_type(&self.media_type))?;
        add("domain", &self.domain, name("domain", Column::Domain, &self.domain))?;
        add("device", &self.device, name("device", Column::Device, &self.device))?;
        add("source", &self.source, source(&self.source))?;
        for text in &self.where_ {
            rules.push(Rule { name: "where".to_owned(), expr: Expr::parse(text)? });
        }
        Ok(FilterSet { rules })
    }
}

fn refuse(flag: &'static str, value: &str, problem: impl Into<String>) -> FilterError {
    FilterError::Flag { flag, value: value.to_owned(), problem: problem.into(), hint: None }
}

/// The values of a flag, split at commas and trimmed.
fn values<'a>(flag: &'static str, given: &'a [String]) -> Result<Vec<&'a str>, FilterError> {
    let values: Vec<&str> =
        given.iter().flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect();
    if values.is_empty() && !given.is_empty() {
        return Err(refuse(flag, "", "the value is empty").hint("give a value, or leave the flag out"));
    }
    Ok(values)
}

fn method(given: &[String]) -> Result<Expr, FilterError> {
    let values = values("method", given)?;
    // Methods are case-sensitive (RFC 9110 §9.1): the upper-case one is meant, one as written may have been seen.
    Ok(Expr::text_in(Column::Method, values.iter().flat_map(|value| [value.to_ascii_uppercase(), (*value).to_owned()])))
}

fn status(given: &[String]) -> Result<Expr, FilterError> {
    const HINT: &str = "write codes and ranges such as 200,4xx,500-599,none";
    let field = || Field::Column(Column::Status);
    let code = |text: &str| match text.as_bytes() {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => text.parse::<i128>().ok(),
        _ => None,
    };
    let (mut codes, mut parts, mut none) = (Vec::new(), Vec::new(), false);
    for value in values("status", given)? {
        let bytes = value.as_bytes();
        if value.eq_ignore_ascii_case("none") {
            none = true;
        } else if let [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] = bytes {
            let low = i128::from(class - b'0') * 100;
            parts.push(Expr::Between(field(), Literal::Integer(low), Literal::Integer(low + 99)));
        } else if let Some(code) = code(value) {
            codes.push(Literal::Integer(code));
        } else if let Some((low, high)) = value.split_once('-') {
            let (Some(low), Some(high)) = (code(low.trim()), code(high.trim())) else {
                return Err(refuse("status", value, "not a range of status codes").hint(HINT));
            };
            if low > high {
                return Err(refuse("status", value, "the range is empty").hint(format!("write {high}-{low}")));
            }
            parts.push(Expr::Between(field(), Literal::Integer(low), Literal::Integer(high)));
        } else {
            return Err(refuse("status", value, "not a status code").hint(HINT));
        }
    }
    let codes = match LiteralSet::new(codes) {
        Some(set) if set.as_slice().len() == 1 => {
            Some(Expr::Compare(field(), Comparison::Equal, set.as_slice()[0].clone()))
        }
        set => set.map(|set| Expr::In(field(), set)),
    };
    Ok(Expr::any(codes.into_iter().chain(parts).chain(none.then(|| Expr::IsNull(field())))))
}

fn url(flag: &'static str, given: &[String]) -> Result<Expr, FilterError> {
    let field = || Field::Column(Column::Url);
    let mut parts = Vec::new();
    for value in given {
        if value.is_empty() {
            return Err(refuse(flag, value, "the value is empty").hint("give a text, or leave the flag out"));
        }
        let regex = value.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|inner| !inner.is_empty());
        let refused = |problem: String| refuse(flag, value, problem);
        parts.push(match regex {
            Some(regex) => Expr::Regex(field(), RegexPattern::new(regex, true).map_err(refused)?),
            None => Expr::Like(field(), LikePattern::containing(value, true).map_err(refused)?),
        });
    }
    Ok(Expr::any(parts))
}

fn media_type(given: &[String]) -> Result<Expr, FilterError> {
    const FLAG: &str = "type";
    let (mut categories, mut types, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for value in values(FLAG, given)? {
        // Parameters say nothing here: the column has none.
        let lower = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if lower == "*/*" {
            parts.push(Expr::IsNull(Field::Column(Column::Type)).negated());
        } else if lower.contains('*') && lower.contains('/') {
            let pattern = LikePattern::from_glob(&lower).map_err(|problem| refuse(FLAG, value, problem))?;
            parts.push(Expr::Like(Field::Column(Column::Type), pattern));
        } else if lower.contains('/') {
            types.push(lower);
        } else if Category::ALL.iter().any(|category| category.as_str() == lower) {
            categories.push(lower);
        } else {
            let names = || Category::ALL.iter().map(|category| category.as_str());
            let hint = nearest(&lower, names()).map_or_else(
                || {
                    format!(
                        "write a media type such as text/html or image/*, or one of {}",
                        names().collect::<Vec<_>>().join(", ")
                    )
                },
                |name| format!("did you mean {name}?"),
            );
            return Err(refuse(FLAG, value, "neither a media type nor a category").hint(hint));
        }
    }
    let some = |column, texts: Vec<String>| (!texts.is_empty()).then(|| Expr::text_in(column, texts));
    Ok(Expr::any(some(Column::Category, categories).into_iter().chain(some(Column::Type, types)).chain(parts)))
}

/// Exact names, or `*.suffix` for everything below the suffix.
fn name(flag: &'static str, column: Column, given: &[String]) -> Result<Expr, FilterError> {
    let (mut exact, mut parts) = (Vec::new(), Vec::new());
    for value in values(flag, given)? {
        let value = if column == Column::Domain { canonical(value).into_owned() } else { value.to_owned() };
        match value.strip_prefix('*') {
            Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') && !suffix.contains('*') => {
                let pattern = LikePattern::ending(suffix).map_err(|problem| refuse(flag, &value, problem))?;
                parts.push(Expr::Like(Field::Column(column), pattern));
            }
            None if !value.contains('*') => exact.push(value),
            _ => {
                return Err(refuse(flag, &value, "a * stands only at the start, before a dot").hint(format!(
                    "write *.example.com, or --where \"{} LIKE '…%'\" for other patterns",
                    column.name()
                )));
            }
        }
    }
    let exact = (!exact.is_empty()).then(|| Expr::text_in(column, exact));
    Ok(Expr::any(exact.into_iter().chain(parts)))
}

fn source(given: &[String]) -> Result<Expr, FilterError> {
    const ALL: [Source; 4] = [Source::Proxy, Source::Packets, Source::Browser, Source::Import];
    let mut names = Vec::new();
    for value in values("source", given)? {
        let lower = value.to_ascii_lowercase();
        if !ALL.iter().any(|source| source.as_str() == lower) {
            return Err(refuse("source", value, "not a source").hint("write proxy, packets, browser or import"));
        }
        names.push(lower);
    }
    Ok(Expr::text_in(Column::Source, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(set: impl FnOnce(&mut FilterFlags)) -> Result<String, String> {
        let mut flags = FilterFlags::default();
        set(&mut flags);
        flags.build().map(|set| set.to_string()).map_err(|error| error.to_string())
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn each_flag_is_sugar() {
        let check = |set: fn(&mut FilterFlags, Vec<String>), given: &[&str], wanted: &str| {
            assert_eq!(flags(|flags| set(flags, strings(given))).as_deref(), Ok(wanted));
        };
        check(|flags, values| flags.method = values, &["GET,POST"], "method IN ('GET', 'POST')");
        check(|flags, values| flags.method = values, &["GET"], "method = 'GET'");
        check(|flags, values| flags.method = values, &["get"], "method IN ('GET', 'get')");
        check(
            |flags, values| flags.status = values,
            &["200,4xx", "500-599,none,204"],
            "status IN (200, 204) OR status BETWEEN 400 AND 499 OR status BETWEEN 500 AND 599 OR status IS NULL",
        );
        check(
            |flags, values| flags.url = values,
            &["/API", "a_b", r"/\.js$/"],
            r"url ILIKE '%/API%' OR url ILIKE '%a\_b%' ESCAPE '\' OR url ~* '\.js$'",
        );
        check(|flags, values| flags.not_url = values, &["x", "y"], "NOT (url ILIKE '%x%' OR url ILIKE '%y%')");
        check(|flags, values| flags.not_url = values, &["x"], "url NOT ILIKE '%x%'");
        check(
            |flags, values| flags.media_type = values,
            &["json,Text/HTML; charset=utf-8,image/*,none"],
            "category IN ('json', 'none') OR type = 'text/html' OR type LIKE 'image/%'",
        );
        check(
            |flags, values| flags.domain = values,
            &["API.example.com", "*.example.org"],
            "domain = 'api.example.com' OR domain LIKE '%.example.org'",
        );
        check(|flags, values| flags.device = values, &["Pixel 9"], "device = 'Pixel 9'");
        check(|flags, values| flags.source = values, &["Proxy"], "source = 'proxy'");
        check(
            |flags, values| flags.where_ = values,
            &["port = 1 OR port = 2", "id > 3"],
            "(port = 1 OR port = 2) AND id > 3",
        );
    }

    #[test]
    fn rules_are_named_and_ordered() {
        let flags = FilterFlags {
            method: strings(&["GET"]),
            not_url: strings(&["x"]),
            where_: strings(&["id > 1", "id < 9"]),
            ..FilterFlags::default()
        };
        let set = flags.build().expect("builds");
        let names: Vec<_> = set.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, ["method", "not-url", "where", "where"]);
        let json = serde_json::to_string(&set).expect("serialises");
        assert_eq!(serde_json::from_str::<FilterSet>(&json).expect("reads"), set);
        assert!(FilterFlags::default().build().expect("builds").is_empty());
    }

    #[test]
    fn bad_values_are_refused() {
        for (result, wanted) in [
            (
                flags(|flags| flags.status = strings(&["4x"])),
                "--status 4x: not a status code; write codes and ranges such as 200,4xx,500-599,none",
            ),
            (
                flags(|flags| flags.status = strings(&["599-500"])),
                "--status 599-500: the range is empty; write 500-599",
            ),
            (
                flags(|flags| flags.media_type = strings(&["jsn"])),
                "--type jsn: neither a media type nor a category; did you mean json?",
            ),
            (
                flags(|flags| flags.source = strings(&["wire"])),
                "--source wire: not a source; write proxy, packets, browser or import",
            ),
            (
                flags(|flags| flags.method = strings(&[" , "])),
                "--method : the value is empty; give a value, or leave the flag out",
            ),
        ] {
            assert_eq!(result, Err(wanted.to_owned()));
        }
        assert!(flags(|flags| flags.domain = strings(&["a.*"])).is_err());
        assert!(flags(|flags| flags.url = strings(&["/(/"])).is_err());
    }
}
