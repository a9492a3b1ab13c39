//! Request and response types shared by server and CLI.
