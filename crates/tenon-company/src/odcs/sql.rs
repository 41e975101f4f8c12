//! Quality rules in SQL: a query that counts the rows that break a condition, and the condition that every row must meet.

/// The query that counts the rows of `table` that do not meet the condition.
pub(super) fn count_of_broken(table: &str, condition: &str) -> String {
    let plain = table.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let table = if plain { table.to_owned() } else { quoted(table) };
    format!("SELECT COUNT(*) FROM {table} WHERE NOT ({condition})")
}

/// A column's name as SQL writes it whatever it holds.
pub(super) fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}

/// A text as SQL writes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The condition that every row must meet so that the query counts none; none where the query is not of the form
/// `SELECT COUNT(*) FROM TABLE WHERE CONDITION` over one of these tables. `column` stands for `${column}`.
pub(super) fn condition_of(query: &str, tables: &[&str], column: Option<&str>) -> Option<String> {
    let rest = word(query, "SELECT")?;
    let rest = word(rest, "COUNT")?;
    let rest = sign(rest, "(")?;
    let rest = sign(rest, "*").or_else(|| sign(rest, "1"))?;
    let rest = sign(rest, ")")?;
    let rest = word(rest, "FROM")?;
    let rest = table(rest, tables)?;
    let rest = word(rest, "WHERE")?.trim();
    let rest = rest.strip_suffix(';').unwrap_or(rest).trim_end();
    if rest.is_empty() || !is_condition(rest) {
        return None;
    }
    let condition = match word(rest, "NOT").and_then(in_parentheses) {
        Some(inner) => inner.to_owned(),
        None => format!("NOT ({rest})"),
    };
    let mut named = condition;
    if let Some(column) = column {
        for place in ["${column}", "${property}", "{column}", "{property}"] {
            named = named.replace(place, &quoted(column));
        }
    }
    (!named.contains("${")).then_some(named)
}

fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (head, rest) = text.split_at_checked(word.len())?;
    let ends = rest.chars().next().is_none_or(|next| !(next.is_alphanumeric() || next == '_'));
    (head.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

fn sign<'a>(text: &'a str, sign: &str) -> Option<&'a str> {
    text.trim_start().strip_prefix(sign)
}

/// What follows a table's name, where it is one of these; the database and schema before it do not count.
fn table<'a>(text: &'a str, tables: &[&str]) -> Option<&'a str> {
    let text = text.trim_start();
    for place in ["${table}", "${object}", "${schema}", "{table}", "{object}", "{model}"] {
        if let Some(rest) = text.strip_prefix(place) {
            return Some(rest);
        }
    }
    let (name, rest) = match text.chars().next()? {
        quote @ ('"' | '`') => text[1..].split_once(quote)?,
        _ => text.split_at(text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len())),
    };
    let bare = name.rsplit('.').next().unwrap_or(name);
    tables.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(bare)).then_some(rest)
}

/// What stands between a pair of parentheses that holds the whole text.
fn in_parentheses(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
    is_condition(inner).then_some(inner)
}

/// Words that would make more of a condition than a condition.
const NO_CONDITION: [&str; 10] =
    ["GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", "QUALIFY", "WINDOW"];

/// Whether a text can stand in parentheses as a condition: quotes and parentheses are closed, nothing is commented out,
/// nothing but a condition follows. What it means is for the engine to say.
fn is_condition(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut chars = text.char_indices().peekable();
    let mut top_words = vec![String::new()];
    while let Some((at, c)) = chars.next() {
        let is_of_word = c.is_alphanumeric() || c == '_';
        match top_words.last_mut() {
            Some(word) if is_of_word && depth == 0 => word.push(c.to_ascii_uppercase()),
            Some(word) if !word.is_empty() => top_words.push(String::new()),
            _ => {}
        }
        match c {
            '\'' | '"' => loop {
                match chars.next() {
                    None => return false,
                    Some((_, end)) if end == c && chars.peek().is_some_and(|(_, next)| *next == c) => {
                        chars.next();
                    }
                    Some((_, end)) if end == c => break,
                    Some(_) => {}
                }
            },
            '(' => depth += 1,
            ')' if depth == 0 => return false,
            ')' => depth -= 1,
            ';' => return false,
            '-' | '/' if text[at..].starts_with("--") || text[at..].starts_with("/*") => return false,
            _ => {}
        }
    }
    depth == 0 && !top_words.iter().any(|word| NO_CONDITION.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(query: &str) -> Option<String> {
        condition_of(query, &["flights", "tbl_flights"], Some("delay"))
    }

    #[test]
    fn a_condition_comes_back_from_its_query() {
        for written in ["a > 1", "a IN ('x)', 'it''s') OR (b AND \"odd)name\" < 3)", "", "NOT a", "NOT (a) AND (b)"] {
            let query = count_of_broken("flights", written);
            assert_eq!(condition(&query).as_deref(), Some(written), "{query}");
        }
        assert_eq!(condition_of(&count_of_broken("my-data", "a > 1"), &["my-data"], None).as_deref(), Some("a > 1"));
    }

    #[test]
    fn queries_of_others_become_conditions() {
        for (query, expected) in [
            ("select count(*) from ${table} where ${column} is null", "NOT (\"delay\" is null)"),
            ("SELECT COUNT(1)\nFROM shop.tbl_flights\nWHERE delay < -60 ;", "NOT (delay < -60)"),
            ("SELECT COUNT(*) FROM `flights` WHERE NOT (delay < 9)", "delay < 9"),
            (
                "SELECT COUNT(*) FROM flights WHERE x IN (SELECT x FROM y GROUP BY x)",
                "NOT (x IN (SELECT x FROM y GROUP BY x))",
            ),
            ("SELECT COUNT(*) FROM flights WHERE NOT (a) OR NOT (b)", "NOT (NOT (a) OR NOT (b))"),
        ] {
            assert_eq!(condition(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn what_is_more_than_a_condition_is_not_taken_for_one() {
        for query in [
            "SELECT COUNT(*) FROM flights",
            "SELECT COUNT(*) FROM flights f JOIN planes p ON f.t = p.t WHERE f.t IS NULL",
            "SELECT COUNT(*) FROM planes WHERE a > 1",
            "SELECT MAX(delay) FROM flights WHERE a > 1",
            "SELECT COUNT(*) FROM flights WHERE a > 1 GROUP BY b",
            "SELECT COUNT(*) FROM flights WHERE a > 1; DROP TABLE flights",
            "SELECT COUNT(*) FROM flights WHERE a > 1 -- b",
            "SELECT COUNT(*) FROM flights WHERE a > 1)",
            "SELECT COUNT(*) FROM flights WHERE a = 'x",
            "SELECT COUNT(*) FROM flights WHERE a > ${threshold}",
            "SELECT COUNT(*) FROM flights, planes WHERE a > 1",
        ] {
            assert_eq!(condition(query), None, "{query}");
        }
    }
}
