//! Regular expressions: ours match a text as a whole, those of ODCS (ECMA-262) anywhere in it.

/// The pattern that matches anywhere what ours matches as a whole.
pub(super) fn anywhere(whole: &str) -> String {
    format!("^(?:{whole})$")
}

/// The pattern that matches as a whole what theirs matches anywhere.
pub(super) fn whole(anywhere: &str) -> String {
    let between = anywhere.strip_prefix('^').and_then(|rest| rest.strip_suffix('$'));
    let Some(between) = between.filter(|between| !ends_escaped(between)) else {
        return format!("(?s:.*)(?:{anywhere})(?s:.*)");
    };
    match between.strip_prefix("(?:").and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) if closes_nothing_outside(inner) => inner.to_owned(),
        _ if has_bar_outside(between) => format!("(?s:.*)(?:{anywhere})(?s:.*)"),
        _ => between.to_owned(),
    }
}

fn ends_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The depth of groups before each character that is not escaped and in no class.
fn depths(pattern: &str) -> impl Iterator<Item = (i64, char)> {
    let (mut depth, mut escaped, mut in_class) = (0_i64, false, false);
    pattern.chars().filter_map(move |c| {
        let before = depth;
        match c {
            _ if escaped => {
                escaped = false;
                return None;
            }
            '\\' => {
                escaped = true;
                return None;
            }
            ']' if in_class => in_class = false,
            _ if in_class => return None,
            '[' => in_class = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        Some((before, c))
    })
}

fn closes_nothing_outside(inner: &str) -> bool {
    depths(inner).all(|(depth, c)| depth > 0 || c != ')') && !ends_escaped(inner)
}

fn has_bar_outside(pattern: &str) -> bool {
    depths(pattern).any(|(depth, c)| depth == 0 && c == '|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_patterns_come_back() {
        for pattern in ["[0-9A-Z]{2}", "a|b", "(a)|(b)", "\\(", "[)]", "", "a$", "^a", "x\\\\"] {
            assert_eq!(whole(&anywhere(pattern)), pattern);
        }
    }

    #[test]
    fn their_patterns_match_as_before() {
        for (theirs, ours) in [
            ("^[A-Z]{3}$", "[A-Z]{3}"),
            ("[A-Z]{3}", "(?s:.*)(?:[A-Z]{3})(?s:.*)"),
            ("^a|b$", "(?s:.*)(?:^a|b$)(?s:.*)"),
            ("^(?:a)|(?:b)$", "(?s:.*)(?:^(?:a)|(?:b)$)(?s:.*)"),
            ("^costs 5\\$", "(?s:.*)(?:^costs 5\\$)(?s:.*)"),
        ] {
            assert_eq!(whole(theirs), ours, "{theirs}");
        }
    }
}
