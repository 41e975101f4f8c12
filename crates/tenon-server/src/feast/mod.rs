//! Feast's feature server: `POST /get-online-features`, `/push` and `/write-to-online-store`, as the client of the stock
//! package (`feast.infra.online_stores.remote`) sends and reads them.
//!
//! Feature views are those of the company, a feature service is a model or one of its versions, and what is pushed are rows
//! of the dataset behind a view. See `docs/feast.md`.

mod online;
mod push;
mod refusal;

pub(crate) use online::get_online_features;
pub(crate) use push::{MOST_BYTES, push, write_to_online_store};
pub(crate) use refusal::Refusal;
