//! Every user-facing sentence, in English and Chinese, by code and parameters. Pure.
