mod anything;
mod copies;
mod draining;
mod leading;
mod places;
mod rounds;
mod talk;
