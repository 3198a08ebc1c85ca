"""Where do projects with other consoles live, with their tasks, runs, resources, users and the requests already taken?"""

from __future__ import annotations

STATEMENTS = (
    """
    CREATE TABLE "projects" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "owner" TEXT NOT NULL,
        "status" TEXT NOT NULL,
        "peer_id" TEXT NOT NULL,
        "peer_url" TEXT NOT NULL,
        "peer_key" TEXT NOT NULL,
        "config" TEXT NOT NULL,
        "peer_config" TEXT NOT NULL,
        "comment" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "projects_id" ON "projects" ("id")',
    'CREATE INDEX "projects_peer_id" ON "projects" ("peer_id")',
    """
    CREATE TABLE "project_tasks" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "project" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "version" TEXT NOT NULL,
        "owner" TEXT NOT NULL,
        "kind" TEXT NOT NULL,
        "token" TEXT NOT NULL,
        "root" INTEGER NOT NULL,
        "comment" TEXT NOT NULL,
        "config" TEXT NOT NULL,
        "meta" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "project_tasks_id" ON "project_tasks" ("id")',
    'CREATE INDEX "project_tasks_project" ON "project_tasks" ("project")',
    """
    CREATE TABLE "pairings" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "task" TEXT NOT NULL,
        "peer_id" TEXT NOT NULL,
        "status" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "pairings_id" ON "pairings" ("id")',
    'CREATE INDEX "pairings_task" ON "pairings" ("task")',
    'CREATE INDEX "pairings_peer_id" ON "pairings" ("peer_id")',
    """
    CREATE TABLE "instances" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "task" TEXT NOT NULL,
        "pairing" TEXT NOT NULL,
        "peer_id" TEXT NOT NULL,
        "started_here" INTEGER NOT NULL,
        "status" TEXT NOT NULL,
        "peer_status" TEXT,
        "owed" TEXT,
        "runs" INTEGER NOT NULL,
        "session" TEXT NOT NULL,
        "comment" TEXT NOT NULL,
        "message" TEXT NOT NULL,
        "error" TEXT NOT NULL,
        "started_at" REAL,
        "error_at" REAL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "instances_id" ON "instances" ("id")',
    'CREATE INDEX "instances_pairing" ON "instances" ("pairing")',
    'CREATE INDEX "instances_peer_id" ON "instances" ("peer_id")',
    'CREATE INDEX "instances_status" ON "instances" ("status")',
    """
    CREATE TABLE "resources" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "owner" TEXT NOT NULL,
        "task" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "uri" TEXT NOT NULL,
        "comment" TEXT NOT NULL,
        "config" TEXT NOT NULL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "resources_id" ON "resources" ("id")',
    'CREATE INDEX "resources_task" ON "resources" ("task")',
    """
    CREATE TABLE "objects" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "blob" TEXT NOT NULL,
        "size" INTEGER NOT NULL,
        "owner" TEXT NOT NULL,
        "created_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "objects_id" ON "objects" ("id")',
    """
    CREATE TABLE "users" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "id" TEXT NOT NULL,
        "name" TEXT NOT NULL,
        "role" TEXT NOT NULL,
        "password" TEXT NOT NULL,
        "info" TEXT NOT NULL,
        "login_at" REAL,
        "created_at" REAL NOT NULL,
        "updated_at" REAL NOT NULL
    )
    """,
    'CREATE UNIQUE INDEX "users_id" ON "users" ("id")',
    'CREATE UNIQUE INDEX "users_name" ON "users" ("name")',
    """
    CREATE TABLE "logins" (
        "id" TEXT NOT NULL PRIMARY KEY,
        "user" TEXT NOT NULL
    )
    """,
    'CREATE INDEX "logins_user" ON "logins" ("user")',
    """
    CREATE TABLE "console_events" (
        "number" INTEGER NOT NULL PRIMARY KEY,
        "record" TEXT NOT NULL,
        "time" REAL NOT NULL,
        "event" TEXT NOT NULL,
        "state" TEXT NOT NULL,
        "reason" TEXT NOT NULL
    )
    """,
    'CREATE INDEX "console_events_record_number" ON "console_events" ("record", "number")',
    """
    CREATE TABLE "nonces" (
        "key" TEXT NOT NULL,
        "nonce" TEXT NOT NULL,
        "at" REAL NOT NULL,
        PRIMARY KEY ("key", "nonce")
    )
    """,
)
