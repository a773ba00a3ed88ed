//! Paths with variables in place of ids, named after the segment before them: `/users/17` with the endpoint
//! `/users/{id}` is `users` and the variable `userId` = `17`.

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment<'a> {
    /// As it stands.
    Literal(&'a str),
    /// An id.
    Variable {
        /// Unique in the path; letters and digits.
        name: String,
        /// The id in this request; empty when only the endpoint is known.
        value: &'a str,
    },
}

/// The segments of a path (without the first slash) whose endpoint is known.
pub(crate) fn segments<'a>(path: &'a str, endpoint: &'a str) -> Vec<Segment<'a>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let endpoint = endpoint.strip_prefix('/').unwrap_or(endpoint);
    let mut templates = endpoint.split('/');
    let mut segments: Vec<Segment<'a>> = Vec::new();
    let mut before = "";
    for segment in path.split('/') {
        let is_id = templates.next() == Some("{id}");
        if !is_id {
            before = segment;
            segments.push(Segment::Literal(segment));
            continue;
        }
        let base = variable_name(before);
        let is_taken = |name: &str| {
            segments.iter().any(|segment| matches!(segment, Segment::Variable { name: taken, .. } if taken == name))
        };
        let name = if is_taken(&base) {
            (2..).map(|number| format!("{base}{number}")).find(|name| !is_taken(name)).unwrap_or(base)
        } else {
            base
        };
        segments.push(Segment::Variable { name, value: segment });
    }
    segments
}

/// `users` → `userId`, `v1` → `v1Id`, nothing fit → `id`.
fn variable_name(before: &str) -> String {
    let word: String = before.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let word = match word.strip_suffix("ies") {
        Some(stem) if !stem.is_empty() => format!("{stem}y"),
        _ => word.strip_suffix('s').filter(|stem| stem.len() > 1 && !stem.ends_with('s')).unwrap_or(&word).to_owned(),
    };
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        format!("{}Id", lower_first(&word))
    } else {
        "id".to_owned()
    }
}

fn lower_first(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_named_after_what_they_identify() {
        let text = |path: &'static str, endpoint: &'static str| {
            segments(path, endpoint)
                .iter()
                .map(|segment| match segment {
                    Segment::Literal(text) => (*text).to_owned(),
                    Segment::Variable { name, value } => format!(":{name}={value}"),
                })
                .collect::<Vec<_>>()
                .join("/")
        };
        assert_eq!(text("/users/17/orders/4", "/users/{id}/orders/{id}"), "users/:userId=17/orders/:orderId=4");
        assert_eq!(text("/1/2", "/{id}/{id}"), ":id=1/:id2=2");
        assert_eq!(text("/Categories/7", "/Categories/{id}"), "Categories/:categoryId=7");
        assert_eq!(text("/", "/"), "");
        assert_eq!(text("/address/9", "/address/{id}"), "address/:addressId=9");
    }
}
