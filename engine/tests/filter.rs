//! Properties of the filter language: its text and its meaning, against a naive model.

use std::{borrow::Cow, cmp::Ordering, collections::HashMap};

use proptest::{collection::vec, prelude::*, sample::select};
use weir_engine::filter::{
    Column, ColumnKind, Comparison, Expr, Field, LikePattern, Literal, LiteralSet, RegexPattern, Row, Value,
};

/// Characters that meet often, with those that patterns and quotes treat specially.
fn text() -> impl Strategy<Value = String> {
    vec(select(vec!['a', 'b', 'A', 'B', '%', '_', '\'', '\\', '.', 'é', 'É', '\n']), 0..5)
        .prop_map(|characters| characters.into_iter().collect())
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        8 => select(Column::ALL).prop_map(Field::Column),
        1 => (any::<bool>(), select(vec!["accept", "x-it's"]))
            .prop_map(|(response, name)| Field::Header { response, name: name.to_owned() }),
    ]
}

fn literal(kind: ColumnKind) -> BoxedStrategy<Literal> {
    match kind {
        ColumnKind::Text => text().prop_map(Literal::Text).boxed(),
        ColumnKind::Integer => prop_oneof![
            4 => (-2_i128..8).prop_map(Literal::Integer),
            1 => any::<u64>().prop_map(|number| Literal::Integer(number.into())),
            1 => any::<i64>().prop_map(|number| Literal::Integer(number.into())),
        ]
        .boxed(),
        ColumnKind::Timestamp => prop_oneof![
            4 => -3_i64..3,
            1 => -60_000_000_000_000_000_i64..250_000_000_000_000_000,
        ]
        .prop_map(Literal::Timestamp)
        .boxed(),
        ColumnKind::Binary => (0_u8..3).prop_map(|byte| Literal::Bytes([byte; 32])).boxed(),
    }
}

fn predicate() -> impl Strategy<Value = Expr> {
    field().prop_flat_map(|field| {
        let kind = field.kind();
        let (a, b, c, d) = (field.clone(), field.clone(), field.clone(), field.clone());
        let typed =
            prop_oneof![
                (select(Comparison::ALL.as_slice()), literal(kind))
                    .prop_map(move |(comparison, literal)| Expr::Compare(a.clone(), comparison, literal)),
                vec(literal(kind), 1..8)
                    .prop_map(move |literals| Expr::In(b.clone(), LiteralSet::new(literals).expect("not empty"))),
                (literal(kind), literal(kind)).prop_map(move |(low, high)| Expr::Between(c.clone(), low, high)),
                Just(Expr::IsNull(d)),
            ];
        if kind != ColumnKind::Text {
            return typed.boxed();
        }
        let (a, b) = (field.clone(), field);
        let like = (text(), any::<bool>(), prop_oneof![Just(None), Just(Some('\\')), Just(Some('é'))]).prop_filter_map(
            "the escape character stands alone",
            move |(text, insensitive, escape)| {
                LikePattern::new(&text, escape, insensitive).ok().map(|pattern| Expr::Like(a.clone(), pattern))
            },
        );
        let regex = (select(vec!["a", "^a.*b$", "[ab]'", "é|\\.", "(?s)a.b"]), any::<bool>()).prop_map(
            move |(text, insensitive)| Expr::Regex(b.clone(), RegexPattern::new(text, insensitive).expect("compiles")),
        );
        prop_oneof![2 => typed, 1 => like, 1 => regex].boxed()
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![12 => predicate(), 1 => any::<bool>().prop_map(Expr::Constant)];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Expr::all),
            vec(inner.clone(), 0..4).prop_map(Expr::any),
            inner.prop_map(Expr::negated),
        ]
    })
}

#[derive(Debug, Clone)]
struct Model(HashMap<Field, Literal>);

impl Row for Model {
    fn value(&self, column: Column) -> Value<'_> {
        match self.0.get(&Field::Column(column)) {
            None => Value::Null,
            Some(Literal::Text(text)) => Value::Text(Cow::Borrowed(text)),
            Some(Literal::Integer(number)) => Value::Integer(u64::try_from(*number).expect("not negative")),
            Some(Literal::Timestamp(us)) => Value::Timestamp(*us),
            Some(Literal::Bytes(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }

    fn header(&self, response: bool, name: &str) -> Option<Cow<'_, str>> {
        match self.0.get(&Field::Header { response, name: name.to_owned() })? {
            Literal::Text(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }
}

/// A row that has a value for about two of three fields of `expr`.
fn row_for(expr: &Expr) -> impl Strategy<Value = Model> + use<> {
    let fields: Vec<Field> = expr.fields().into_iter().cloned().collect();
    let values: Vec<_> = fields
        .into_iter()
        .map(|field| {
            let value = literal(field.kind()).prop_map(|literal| match literal {
                Literal::Integer(number) => Literal::Integer(number.max(0)),
                other => other,
            });
            (Just(field), prop_oneof![1 => Just(None), 2 => value.prop_map(Some)])
        })
        .collect();
    values.prop_map(|pairs| Model(pairs.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()))
}

fn naive_like(pattern: &[char], text: &[char], escape: Option<char>, same: fn(char, char) -> bool) -> bool {
    match pattern {
        [] => text.is_empty(),
        [mark, wanted, rest @ ..] if Some(*mark) == escape => {
            text.first().is_some_and(|&first| same(first, *wanted)) && naive_like(rest, &text[1..], escape, same)
        }
        ['%', rest @ ..] => (0..=text.len()).any(|skip| naive_like(rest, &text[skip..], escape, same)),
        ['_', rest @ ..] => !text.is_empty() && naive_like(rest, &text[1..], escape, same),
        [wanted, rest @ ..] => {
            text.first().is_some_and(|&first| same(first, *wanted)) && naive_like(rest, &text[1..], escape, same)
        }
    }
}

/// SQL's truth tables written out.
fn naive(expr: &Expr, row: &Model) -> Option<bool> {
    let order = |field: &Field, literal: &Literal| -> Option<Ordering> { Some(row.0.get(field)?.cmp(literal)) };
    match expr {
        Expr::Constant(value) => Some(*value),
        Expr::Not(inner) => match naive(inner, row) {
            Some(true) => Some(false),
            Some(false) => Some(true),
            None => None,
        },
        Expr::And(parts) => {
            let truths: Vec<_> = parts.iter().map(|part| naive(part, row)).collect();
            if truths.contains(&Some(false)) { Some(false) } else { (!truths.contains(&None)).then_some(true) }
        }
        Expr::Or(parts) => {
            let truths: Vec<_> = parts.iter().map(|part| naive(part, row)).collect();
            if truths.contains(&Some(true)) { Some(true) } else { (!truths.contains(&None)).then_some(false) }
        }
        Expr::IsNull(field) => Some(!row.0.contains_key(field)),
        Expr::Compare(field, comparison, literal) => {
            let order = order(field, literal)?;
            Some(match comparison {
                Comparison::Equal => order == Ordering::Equal,
                Comparison::NotEqual => order != Ordering::Equal,
                Comparison::Less => order == Ordering::Less,
                Comparison::LessOrEqual => order != Ordering::Greater,
                Comparison::Greater => order == Ordering::Greater,
                Comparison::GreaterOrEqual => order != Ordering::Less,
            })
        }
        Expr::In(field, set) => {
            let value = row.0.get(field)?;
            Some(set.as_slice().contains(value))
        }
        Expr::Between(field, low, high) => {
            Some(order(field, low)? != Ordering::Less && order(field, high)? != Ordering::Greater)
        }
        Expr::Like(field, pattern) => {
            let Literal::Text(value) = row.0.get(field)? else { return None };
            let same: fn(char, char) -> bool =
                if pattern.is_insensitive() { |a, b| a.to_lowercase().eq(b.to_lowercase()) } else { |a, b| a == b };
            let (wanted, value): (Vec<char>, Vec<char>) = (pattern.text().chars().collect(), value.chars().collect());
            Some(naive_like(&wanted, &value, pattern.escape(), same))
        }
        Expr::Regex(field, pattern) => {
            let Literal::Text(value) = row.0.get(field)? else { return None };
            let regex = regex::RegexBuilder::new(pattern.text()).case_insensitive(pattern.is_insensitive()).build();
            Some(regex.expect("compiles").is_match(value))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn text_of_an_expression_parses_to_it(expr in expr()) {
        let text = expr.to_string();
        let parsed = Expr::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        prop_assert_eq!(&parsed, &expr, "{}", text);
        prop_assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn evaluator_agrees_with_the_model((expr, row) in expr().prop_flat_map(|expr| { let row = row_for(&expr); (Just(expr), row) })) {
        prop_assert_eq!(expr.truth(&row), naive(&expr, &row), "{}", expr);
        prop_assert_eq!(expr.matches(&row), naive(&expr, &row) == Some(true));
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,60}") {
        if let Err(error) = Expr::parse(&text) {
            prop_assert!(error.to_string().starts_with("filter, position "));
            prop_assert!(error.excerpt(&text).is_some());
        }
    }

    #[test]
    fn arbitrary_tokens_never_panic(words in vec(select(vec![
        "status", "url", "domian", "type", "=", "!=", "~", "!~*", "LIKE", "ILIKE", "IN", "NOT", "AND", "OR", "(", ")", ",",
        "BETWEEN", "IS", "NULL", "TRUE", "1", "-1", "'a'", "''", "'%'", "ESCAPE", "request_header", "\"url\"", "started", "'2026-01-01'", "é", "'",
    ]), 0..14)) {
        let text = words.join(" ");
        if let Ok(expr) = Expr::parse(&text) {
            prop_assert_eq!(Expr::parse(&expr.to_string()).expect("canonical text parses"), expr);
        }
    }
}

#[test]
fn truth_tables_with_null() {
    let row = Model(HashMap::new());
    let truth = |text: &str| Expr::parse(text).expect("parses").truth(&row);
    // `status = 1` is unknown here.
    for (text, wanted) in [
        ("status = 1", None),
        ("NOT status = 1", None),
        ("status = 1 AND TRUE", None),
        ("status = 1 AND FALSE", Some(false)),
        ("FALSE AND status = 1", Some(false)),
        ("status = 1 OR TRUE", Some(true)),
        ("TRUE OR status = 1", Some(true)),
        ("status = 1 OR FALSE", None),
        ("status = 1 OR status IS NULL", Some(true)),
        ("status != 1", None),
        ("status IN (1, 2)", None),
        ("status NOT IN (1, 2)", None),
        ("status BETWEEN 1 AND 2", None),
        ("url LIKE '%'", None),
        ("url !~ 'a'", None),
        ("status IS NULL", Some(true)),
        ("status IS NOT NULL", Some(false)),
    ] {
        assert_eq!(truth(text), wanted, "{text}");
    }
}
