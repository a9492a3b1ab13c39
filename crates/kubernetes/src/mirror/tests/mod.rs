mod facts;
mod relists;
