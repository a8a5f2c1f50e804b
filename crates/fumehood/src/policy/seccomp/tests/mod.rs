//! What profiles mean, held against a second reading of them.

mod shipped;
