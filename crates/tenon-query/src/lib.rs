//! SQL over Arrow: DataFusion sessions, and the point-in-time join.
