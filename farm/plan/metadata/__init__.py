"""rpm-md: fetched, examined, pinned, and read into what libsolv takes."""
