#!/bin/sh
# The entry point of the image `services`, for clusters that reach no registry. It starts what the entry points of
# docker.io/library/postgres and docker.io/valkey/valkey start, as far as the chart asks for it:
#   postgres [OPTION…]      with PGDATA, POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE
#   FILE.conf [OPTION…]     valkey-server with this configuration; also `valkey-server [OPTION…]`
set -eu

# The database is made beside its place and moved there, so that a start that was killed midway is begun anew.
make_database() {
  new="$PGDATA.new"
  rm -rf "$new"
  mkdir -p "$(dirname "$PGDATA")"
  secret="${POSTGRES_PASSWORD_FILE:-}"
  if [ -z "$secret" ]; then
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
      echo "services: POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE must be set for a new database" >&2
      exit 1
    fi
    secret=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" > "$secret"
  fi
  initdb --pgdata="$new" --username="$POSTGRES_USER" --pwfile="$secret" --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256
  echo 'host all all all scram-sha-256' >> "$new/pg_hba.conf"
  if [ "$POSTGRES_DB" != postgres ]; then
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -j -D "$new" postgres > /dev/null
  fi
  sync
  mv "$new" "$PGDATA"
}

case "${1:-}" in
postgres)
  : "${PGDATA:?must name the folder of the database}" "${POSTGRES_USER:=postgres}" "${POSTGRES_DB:=$POSTGRES_USER}"
  export PGDATA
  [ -s "$PGDATA/PG_VERSION" ] || make_database
  unset POSTGRES_PASSWORD
  exec "$@"
  ;;
*.conf)
  exec valkey-server "$@"
  ;;
valkey-server)
  exec "$@"
  ;;
*)
  echo "services: say postgres, valkey-server or a configuration of it, not '${1:-}'" >&2
  exit 2
  ;;
esac
