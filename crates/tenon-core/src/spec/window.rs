//! The stretch of time that a feature looks at.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Span, Timestamp};

/// Over which stretch of time a feature aggregates, seen from the moment of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(into = "WindowForm")]
#[schemars(with = "WindowForm")]
pub enum Window {
    /// `"6h"`: so long until the moment. Events at its start are out, those at the moment are in.
    Sliding(Span),
    /// `{ tumbling = "1d" }`: of all stretches of this length that begin at `origin`, the last one that is over by the
    /// moment. Events at its start are in, those at its end are out.
    Tumbling {
        /// How long each stretch is.
        every: Span,
        /// Where one of them begins.
        origin: Timestamp,
    },
    /// `{ session = "30m" }`: back from the moment until nothing had happened for longer than the gap. Without an event
    /// within the gap before the moment there is no session.
    Session {
        /// How long nothing happens between two sessions, at the least.
        gap: Span,
    },
    /// `"lifetime"`: all that is known, however old.
    Lifetime,
}

impl Window {
    /// How long it is; none where that depends on the rows.
    pub const fn span(self) -> Option<Span> {
        match self {
            Self::Sliding(span) | Self::Tumbling { every: span, .. } => Some(span),
            Self::Session { .. } | Self::Lifetime => None,
        }
    }
}

impl From<Span> for Window {
    fn from(span: Span) -> Self {
        Self::Sliding(span)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding(span) => fmt::Display::fmt(span, f),
            Self::Tumbling { every, .. } => write!(f, "last whole {every}"),
            Self::Session { gap } => write!(f, "session with gap {gap}"),
            Self::Lifetime => f.write_str(LIFETIME),
        }
    }
}

const LIFETIME: &str = "lifetime";
const EPOCH: Timestamp = Timestamp::from_micros(0);

/// A window as a file says it.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum WindowForm {
    /// A length of time until the moment of decision, such as `6h`, or `lifetime`.
    Text(String),
    /// The last whole stretch of this length by the moment of decision.
    Tumbling {
        /// How long each stretch is.
        tumbling: Span,
        /// Where one of them begins; without it, 1970-01-01T00:00:00Z.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Timestamp>,
    },
    /// The session that is going on at the moment of decision.
    Session {
        /// How long nothing happens between two sessions, at the least.
        session: Span,
    },
}

impl From<Window> for WindowForm {
    fn from(window: Window) -> Self {
        match window {
            Window::Sliding(span) => Self::Text(span.to_string()),
            Window::Lifetime => Self::Text(LIFETIME.to_owned()),
            Window::Tumbling { every, origin } => {
                Self::Tumbling { tumbling: every, origin: (origin != EPOCH).then_some(origin) }
            }
            Window::Session { gap } => Self::Session { session: gap },
        }
    }
}

// By hand: an untagged enum would say no more than that nothing matched.
impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WindowVisitor)
    }
}

struct WindowVisitor;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowTable {
    tumbling: Option<Span>,
    session: Option<Span>,
    origin: Option<Timestamp>,
}

impl<'de> Visitor<'de> for WindowVisitor {
    type Value = Window;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a window: a length of time such as \"6h\", \"lifetime\", { tumbling = \"1d\" } or { session = \"30m\" }",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Window, E> {
        match text {
            LIFETIME => Ok(Window::Lifetime),
            "tumbling" => Err(E::custom("a tumbling window needs its length: write { tumbling = \"1d\" }")),
            "session" => Err(E::custom("a session window needs its gap: write { session = \"30m\" }")),
            span => span.parse().map(Window::Sliding).map_err(E::custom),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Window, A::Error> {
        let table = WindowTable::deserialize(MapAccessDeserializer::new(map))?;
        match (table.tumbling, table.session, table.origin) {
            (Some(every), None, origin) => Ok(Window::Tumbling { every, origin: origin.unwrap_or(EPOCH) }),
            (None, Some(gap), None) => Ok(Window::Session { gap }),
            (None, Some(_), Some(_)) => {
                Err(A::Error::custom("a session begins with its first event, so that it has no `origin`"))
            }
            (Some(_), Some(_), _) => Err(A::Error::custom("a window is either `tumbling` or `session`, not both")),
            (None, None, _) => {
                Err(A::Error::custom("this window has no length: write { tumbling = \"1d\" } or { session = \"30m\" }"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Deserialize)]
    struct Holder {
        window: Window,
    }

    fn read(text: &str) -> Result<Window, String> {
        toml::from_str::<Holder>(text).map(|holder| holder.window).map_err(|error| error.message().trim().to_owned())
    }

    #[test]
    fn windows_read_as_they_are_written() {
        let origin = "2013-01-01T05:00:00Z".parse().unwrap();
        let windows = [
            ("\"6h\"", Window::Sliding(Span::hours(6))),
            ("\"lifetime\"", Window::Lifetime),
            ("{ tumbling = \"1d\" }", Window::Tumbling { every: Span::days(1), origin: EPOCH }),
            (
                "{ tumbling = \"7d\", origin = \"2013-01-01T05:00:00Z\" }",
                Window::Tumbling { every: Span::days(7), origin },
            ),
            ("{ session = \"30m\" }", Window::Session { gap: Span::from_micros(1_800_000_000) }),
        ];
        for (text, window) in windows {
            assert_eq!(read(&format!("window = {text}")), Ok(window));
            let json = serde_json::to_string(&window).unwrap();
            assert_eq!(serde_json::from_str::<Window>(&json).unwrap(), window, "{json}");
        }
    }

    #[test]
    fn what_is_no_window_is_told() {
        let told = [
            "\"-2h\"",
            "\"session\"",
            "\"tumbling\"",
            "{}",
            "{ session = \"1h\", origin = \"2013-01-01\" }",
            "{ session = \"1h\", tumbling = \"1h\" }",
            "{ sesion = \"1h\" }",
            "{ session = 30 }",
            "6",
        ]
        .map(|text| format!("{text}: {}", read(&format!("window = {text}")).unwrap_err()));
        insta::assert_snapshot!(told.join("\n"), @r#"
        "-2h": `-2h` is not a length of time: write a whole number and a unit, one of ms, s, m, h, d, w, y, such as `24h`
        "session": a session window needs its gap: write { session = "30m" }
        "tumbling": a tumbling window needs its length: write { tumbling = "1d" }
        {}: this window has no length: write { tumbling = "1d" } or { session = "30m" }
        { session = "1h", origin = "2013-01-01" }: a session begins with its first event, so that it has no `origin`
        { session = "1h", tumbling = "1h" }: a window is either `tumbling` or `session`, not both
        { sesion = "1h" }: unknown field `sesion`, expected one of `tumbling`, `session`, `origin`
        { session = 30 }: invalid type: integer `30`, expected a string
        6: invalid type: integer `6`, expected a window: a length of time such as "6h", "lifetime", { tumbling = "1d" } or { session = "30m" }
        "#);
    }
}
