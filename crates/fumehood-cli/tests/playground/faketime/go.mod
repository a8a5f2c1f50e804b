module faketime

go 1.19
